"""The commands and the program of docs/collections.md run as they stand, on a small real model."""

import sys
from pathlib import Path

from conftest import REPOSITORY
from test_docs import PUBLISHED, blocks, run

PAGE = REPOSITORY / "docs" / "collections.md"


def test_the_shell_commands_work(tmp_path: Path, minilm: Path) -> None:
    script = "".join(blocks(PAGE, "bash")).replace(PUBLISHED, str(minilm))
    done = run(["bash", "-euo", "pipefail", "-c", script], tmp_path)
    assert "3 records (0 added, 0 changed, 3 unchanged, 0 deleted), 0 texts embedded" in done.stdout
    assert (tmp_path / "zh.csv").read_text("utf-8-sig").count("\n") == 2
    assert "copy: 3 records, all as they were written" in done.stdout


def test_the_program_works(tmp_path: Path, minilm: Path) -> None:
    program = "".join(blocks(PAGE, "python")).replace(PUBLISHED, str(minilm))
    lines = run([sys.executable, "-c", program], tmp_path).stdout.splitlines()
    assert lines[0] == "2 0 0"
    assert "(2, 384)" in lines
    assert lines[-1] == "[('1', ['4'])]"
