"""The commands and the program of docs/search.md run as they stand, on a small real model."""

import sys
from pathlib import Path

from conftest import REPOSITORY
from test_docs import PUBLISHED, blocks, run

PAGE = REPOSITORY / "docs" / "search.md"


def test_the_shell_commands_work(tmp_path: Path, minilm: Path) -> None:
    script = "".join(blocks(PAGE, "bash")).replace(PUBLISHED, str(minilm))
    out = run(["bash", "-euo", "pipefail", "-c", script], tmp_path).stdout
    assert "How do I get an invoice?" in out
    assert "by meaning" in out
    assert '"hits": [{"id": "' in out


def test_the_program_works(tmp_path: Path, minilm: Path) -> None:
    program = "".join(blocks(PAGE, "python")).replace(PUBLISHED, str(minilm))
    lines = run([sys.executable, "-c", program], tmp_path).stdout.splitlines()
    assert "((16, 23),)" in lines
    assert len(lines) == 4
