"""Writes the generated parts of the pages: `python docs/generate.py`; with `--check` it only says which pages are out of date.

A page holds `<!-- generated: WHAT -->` ... `<!-- end -->`; what stands between is replaced. WHAT is one of

    modules              one line a module, from the first line of its docstring
    commands             every command with its arguments and options, as `huiyi --help` knows them
    benchmark NAME       the table of benchmarks/results/NAME.json
    benchmarks           all of them, each with its heading and its circumstances

A result file: {"title", "date", "commit", "machine", "settings": {...}, "note" (optional), "rows": [{column: value, ...}, ...]}.
Its columns are the keys of the first row, in their order; figures are printed as they stand, so round them where they are measured.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src" / "huiyi"
RESULTS = REPOSITORY / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- generated: (\w+) ?([\w-]*) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    return sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), SOURCE / "starter" / "README.md"])


def renewed(page: Path) -> str:
    """The text of `page` with every generated part written anew."""

    def part(found: re.Match[str]) -> str:
        start, what, argument, end = found.groups()
        lines = GENERATORS[what](*([argument] if argument else []))
        return start + "\n".join(["", *lines, ""]) + "\n" + end

    return MARKED.sub(part, page.read_text("utf-8"))


def modules() -> Iterator[str]:
    for path in sorted(SOURCE.rglob("*.py"), key=lambda path: (path.parent != SOURCE, path)):
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        if docstring:
            name = path.relative_to(SOURCE).with_suffix("").as_posix()
            yield f"- `{name}`: {docstring.splitlines()[0].rstrip(':.')}."


def commands() -> list[str]:
    import typer
    from typer.cli import get_docs_for_click

    from huiyi.cli.app import app

    command = typer.main.get_command(app)
    return get_docs_for_click(obj=command, ctx=typer.Context(command), name="huiyi", indent=1).strip().splitlines()


def benchmark(name: str) -> list[str]:
    rows = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["rows"]
    columns = list(rows[0])
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *([cell(row.get(column)) for column in columns] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def benchmarks() -> Iterator[str]:
    for path in sorted(RESULTS.glob("*.json")):
        run = json.loads(path.read_text("utf-8"))
        settings = ", ".join(f"{key} {cell(value)}" for key, value in run["settings"].items())
        yield from [f"## {run['title']}", ""]
        yield from ([run["note"], ""] if run.get("note") else [])
        yield from benchmark(path.stem)
        yield from ["", f"`benchmarks/results/{path.name}`: {run['date']}, commit {run['commit']}, {run['machine']}; {settings}.", ""]


GENERATORS: dict[str, Any] = {"modules": modules, "commands": commands, "benchmark": benchmark, "benchmarks": benchmarks}


def main(check: bool) -> int:
    """0, or 1 when `check` finds a page that differs from what would be written."""
    stale = [page for page in pages() if renewed(page) != page.read_text("utf-8")]
    for page in stale:
        if check:
            print(f"{page.relative_to(REPOSITORY)} is out of date: run `python docs/generate.py`", file=sys.stderr)
        else:
            page.write_text(renewed(page), "utf-8")
            print(f"wrote {page.relative_to(REPOSITORY)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
