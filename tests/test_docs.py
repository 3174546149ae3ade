"""The pages: generated parts up to date, both READMEs the same, every command and example in them run.

How a code block is run. `bash` blocks of a page are one script, run in an empty folder with an empty HUIYI_HOME; `python`
blocks one program. The published model's name is replaced by the folder of a small local checkpoint, so that nothing is
downloaded. Lines that set up an environment (make, pip, git, docker) are left out: tests/test_packaging.py and .ci/run do
those things. Blocks in another language are output.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from conftest import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
ENGLISH, CHINESE = REPOSITORY / "README.md", REPOSITORY / "README.zh-CN.md"
PUBLISHED = "Qwen/Qwen3-Embedding-0.6B"
SET_UP = ("make ", "pip ", "git ", "cd ", "docker ")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text("utf-8")) if name == language]


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text("utf-8"))


def run(command: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    home = folder / "home"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HUIYI_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    env = {**kept, "PATH": path, "HUIYI_HOME": str(home), "HF_HUB_OFFLINE": "1", **more}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_parts_are_what_the_generator_writes(generate: ModuleType) -> None:
    assert [page.name for page in generate.pages() if generate.renewed(page) != page.read_text("utf-8")] == []


def test_a_run_becomes_a_table(generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's marked part holds the figures of the result file, rounded as they were, and renewing it again changes nothing."""
    rows = [{"engine": "ours", "tokens/s": 1234, "cosine": 0.99995}, {"engine": "theirs", "tokens/s": 980.5, "cosine": None}]
    run = {"title": "Speed", "date": "2026-01-02", "commit": "abc", "machine": "a laptop", "settings": {"threads": 2}, "rows": rows}
    (tmp_path / "speed.json").write_text(json.dumps(run), "utf-8")
    monkeypatch.setattr(generate, "RESULTS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- generated: benchmark speed -->\nstale\n<!-- end -->\nAfter.\n", "utf-8")
    page.write_text(generate.renewed(page), "utf-8")
    table = "| engine | tokens/s | cosine |\n| --- | ---: | ---: |\n| ours | 1,234 | 0.99995 |\n| theirs | 980.5 | – |"
    assert page.read_text("utf-8") == f"Before.\n<!-- generated: benchmark speed -->\n\n{table}\n\n<!-- end -->\nAfter.\n"
    assert generate.renewed(page) == page.read_text("utf-8")
    whole = "\n".join(generate.benchmarks())
    assert whole.startswith("## Speed\n")
    assert table in whole
    assert "2026-01-02, commit abc, a laptop; threads 2." in whole


def test_both_readmes_have_the_same_headings_and_code() -> None:
    levels = [[len(marks) for marks in re.findall(r"^(#+) ", prose(page), re.MULTILINE)] for page in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    code = [BLOCK.findall(page.read_text("utf-8")) for page in (ENGLISH, CHINESE)]
    assert code[0] == code[1]


def test_both_readmes_have_the_same_figures_and_names() -> None:
    """Section by section: every number and every `name` in backquotes."""

    def facts(page: Path) -> Iterator[tuple[set[str], set[str]]]:
        for section in re.split(r"^#+ ", prose(page), flags=re.MULTILINE):
            yield set(re.findall(r"\d+(?:[.,]\d+)*", section)), set(re.findall(r"`([^`]+)`", section))

    assert list(facts(ENGLISH)) == list(facts(CHINESE))


def test_the_shell_commands_of_the_readme_work(tmp_path: Path, minilm: Path) -> None:
    lines = "".join(blocks(ENGLISH, "bash")).splitlines()
    script = "\n".join(line for line in lines if not line.startswith(SET_UP)).replace(PUBLISHED, str(minilm))
    assert "huiyi" in script
    run(["bash", "-euo", "pipefail", "-c", script], tmp_path)


def test_the_python_examples_of_the_readme_work(tmp_path: Path, minilm: Path) -> None:
    program = "".join(blocks(ENGLISH, "python")).replace(PUBLISHED, str(minilm))
    assert "huiyi.load" in program
    assert run([sys.executable, "-c", program], tmp_path).stdout


def test_the_demo_finds_what_the_readme_shows(tmp_path: Path) -> None:
    """Scores may differ in the second digit: other CPUs compute with other numbers."""
    score = re.compile(r"\b\d\.\d\d\b")
    shown = [line for line in blocks(ENGLISH, "text")[0].splitlines() if line]
    printed = run([sys.executable, "-m", "huiyi", "demo", "--no-serve"], tmp_path).stdout
    found = {" ".join(score.sub("", line).split()): score.findall(line) for line in printed.splitlines()}
    for line in shown:
        scores = found[" ".join(score.sub("", line).split())]
        assert [float(each) for each in scores] == pytest.approx([float(each) for each in score.findall(line)], abs=0.03)


def test_the_commands_of_contributing_work(tmp_path: Path) -> None:
    page = REPOSITORY / "CONTRIBUTING.md"
    assert len(page.read_text("utf-8").splitlines()) <= 40
    commands = "".join(blocks(page, "bash")).splitlines()
    assert commands
    for command in commands:  # a make target runs this very test: what it would do is printed instead
        words = command.replace("make ", "make -n ").replace(".venv/bin", str(Path(sys.executable).parent)).split()
        done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_make_targets_and_files_named_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text("utf-8")
        assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"
        for path in re.findall(r"`((?:docs|tests|examples|benchmarks|\.ci)/[\w./-]+)`", text):
            assert (REPOSITORY / path).exists(), f"{page.name}: {path}"


def test_every_setting_is_in_the_readme() -> None:
    source = "".join(path.read_text("utf-8") for path in (REPOSITORY / "src").rglob("*.py"))
    settings = set(re.findall(r"""environ(?:\.get\(|\[)["'](\w+)["']""", source))
    assert {"HUIYI_HOME", "HUIYI_MODEL"} <= settings
    assert settings <= set(re.findall(r"`(\w+)`", ENGLISH.read_text("utf-8")))


def test_the_changelog_keeps_its_form() -> None:
    lines = (REPOSITORY / "CHANGELOG.md").read_text("utf-8").splitlines()
    releases = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert releases[0] == "Unreleased"
    versions = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \(\d{4}-\d\d-\d\d\)", release) for release in releases[1:]]
    assert all(versions)
    numbers = [tuple(int(part) for part in version.groups()) for version in versions if version]
    assert numbers == sorted(numbers, reverse=True)
    assert {line for line in lines if line.startswith("### ")} <= {"### Added", "### Changed", "### Fixed"}
