"""The house rules, read from the source: who may import whom, names, docstrings, extras, and what starting up may load."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from conftest import REPOSITORY

SOURCE = REPOSITORY / "src" / "huiyi"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("test_*.py"))

# A part of the house -> the parts of huiyi that it may import. A part is a top-level module or a sub-package.
MAY_IMPORT = {
    "errors": set(),
    "types": set(),
    "ending": set(),
    "settings": {"errors"},
    "charts": {"errors", "types"},
    "demo": set(),
    "sources": {"errors", "types"},
    "tasks": {"errors", "types"},
    "stores": {"errors", "types"},
    "engines": {"errors", "types", "settings"},
    "encoding": {"errors", "types", "settings", "engines"},
    "training": {"errors", "types", "settings", "engines", "encoding", "charts"},
    "model": {"errors", "types", "encoding"},
    "collection": {
        "errors",
        "types",
        "encoding",
        "model",
        "stores",
        "tasks",
        "understanding",
        "shortlists",
        "spaces",
        "retrieval",
        "workspace",
    },
    "spaces": {"errors", "types", "encoding", "model", "stores"},
    "retrieval": {"errors", "types", "stores", "tasks", "spaces"},
    "shortlists": {"types", "stores"},
    "understanding": {"errors", "types", "tasks"},
    "serving": {"errors", "types", "encoding"},
    "vectorizer": {"errors", "types", "model", "workspace"},
    "workspace": {
        "errors",
        "types",
        "ending",
        "settings",
        "sources",
        "tasks",
        "stores",
        "engines",
        "encoding",
        "training",
        "understanding",
        "collection",
        "spaces",
        "retrieval",
        "model",
        "serving",
        "charts",
        "demo",
        "__init__",
    },
    "server": {"errors", "types", "settings", "serving", "workspace", "__init__"},
    "console": {"errors", "types", "settings", "charts", "serving", "workspace", "__init__"},
    "cli": {"errors", "types", "ending", "settings", "charts", "model", "serving", "workspace", "server", "console", "__init__"},
    "__init__": {"errors", "types", "collection", "model", "vectorizer", "workspace"},
    "__main__": {"cli"},
}

# Inside these parts modules stand alone, except that any of them may use the ones named here.
STAND_ALONE = {"tasks": {"neighbors", "communities", "partitions", "guard", "names", "quantities", "scripts", "shingles", "fusion"}}

# A library -> the only modules that may import it, as path prefixes below src/huiyi.
ONLY_IN = {
    "torch": ("engines/torch", "training/losses", "training/networks", "training/recipes", "training/loop", "training/adapters"),
    "transformers": ("training/",),
    "sentence_transformers": ("training/",),
    "peft": ("training/",),
    "openvino": ("engines/",),
    "tokenizers": ("encoding/tokenizer",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "fastapi": ("server/",),
    "starlette": ("server/", "console/"),
    "uvicorn": ("server/",),
    "orjson": ("server/", "engines/upstream"),
    "httpx": ("engines/upstream",),
    "ray": ("encoding/machines", "encoding/ray_connection"),
    "prometheus_client": ("server/",),
    "nicegui": ("console/",),
    "openpyxl": ("sources/",),
    "pyarrow": ("sources/",),
    "markdown_it": ("sources/",),
    "bs4": ("sources/",),
    "pypdf": ("sources/",),
    "docx": ("sources/",),
    "pymilvus": ("stores/",),
    "pinecone": ("stores/",),
    "sklearn": ("tasks/", "vectorizer", "training/"),
    "faiss": ("stores/", "tasks/"),
    "sknetwork": ("tasks/",),
    "rjieba": ("tasks/", "stores/"),
    "sqlite3": ("stores/", "encoding/cache"),
}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports, at the top, in a function or for types only; `from huiyi import x` as `huiyi.x`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: a relative import; write the module's full name"
            assert node.module
            if node.module == "huiyi":
                yield from (f"huiyi.{alias.name}" for alias in node.names)
            else:
                yield node.module


def inner(module: str) -> str:
    """`huiyi.sources.tables` -> `sources`; a public name of the package itself, such as `huiyi.load`, -> `__init__`."""
    _, first, *_ = [*module.split("."), "__init__"]
    return first if (SOURCE / first).is_dir() or (SOURCE / f"{first}.py").is_file() else "__init__"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_the_parts_of_the_house_that_it_may(path: Path) -> None:
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is a new part of the house: say here, and in docs/decisions.md, what it may import"
    reached = {inner(module) for module in imports(path) if module.split(".")[0] == "huiyi"}
    assert reached <= MAY_IMPORT[part] | {part}


def test_a_collection_reaches_up_to_the_workspace_for_an_answer_alone() -> None:
    """What stands below the workspace may not need it; a person who holds a collection may ask it all the same."""
    tree = ast.parse((SOURCE / "collection.py").read_text("utf-8"))
    (collection,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Collection")
    there = [
        node
        for part in (*(node for node in tree.body if node is not collection), *collection.body)
        for node in ast.walk(part)
        if isinstance(node, ast.ImportFrom) and node.module == "huiyi.workspace"
        if not (isinstance(part, ast.If) or getattr(part, "name", None) == "answer")  # an if: for types only
    ]
    assert not there


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_library_is_imported_only_where_it_belongs(path: Path) -> None:
    here = path.relative_to(SOURCE).as_posix()
    strays = {library for library in {module.split(".")[0] for module in imports(path)} if not here.startswith(ONLY_IN.get(library, ("",)))}
    assert not strays


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) in STAND_ALONE], ids=name_of)
def test_tasks_do_not_import_each_other(path: Path) -> None:
    part = part_of(path)
    siblings = {module.split(".")[2] for module in imports(path) if module.startswith(f"huiyi.{part}.")}
    assert siblings <= STAND_ALONE[part]


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py" or path.parent == SOURCE], ids=name_of)
def test_a_module_says_in_a_few_lines_what_it_owns(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert docstring, "no module docstring"
    prose = [line for line in docstring.splitlines() if line and not line.startswith(" ")]  # indented: a drawing or an example
    assert len(prose) <= 8
    assert prose[0].endswith((".", ":")), "the first line stands alone in docs/architecture.md: make it a sentence"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_are_nouns_of_the_domain(path: Path) -> None:
    defined = [node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert not [name for name in [path.stem, *defined] if re.search(r"utils?$|^utils?|common$|helper|manager", name, re.IGNORECASE)]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_depth_is_two_and_long_files_are_asked_about(path: Path) -> None:
    assert len(path.relative_to(SOURCE).parts) <= 2
    lines = len(path.read_text("utf-8").splitlines())
    if lines > 300:
        warnings.warn(f"{name_of(path)}: {lines} lines; is it one thing?", stacklevel=1)


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_a_test_file_asserts_something(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    raises = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "raises"]
    raises += [node for node in nodes if isinstance(node, ast.Name) and node.id == "expect"]  # Playwright's
    assert raises or any(isinstance(node, ast.Assert) for node in nodes)


def test_an_extra_that_a_message_names_can_be_installed() -> None:
    extras = set(tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    pages = [*MODULES, *REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("examples/*.py")]
    named = {
        extra.strip()
        for page in pages
        for found in re.findall(r"huiyi\[([a-z, ]+)\]", page.read_text("utf-8"))
        for extra in found.split(",")
    }
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "MissingExtra":
                extra = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "extra")]
                named |= {value.value for value in extra if isinstance(value, ast.Constant)}
    assert named - {"extra"} <= extras  # errors.py itself speaks of `huiyi[extra]`


def test_every_library_that_is_imported_is_a_declared_requirement() -> None:
    """By its own name, not because something else happens to bring it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    declared = {re.split(r"[\s\[<>=!;]", line)[0].lower() for line in lines}
    provides = packages_distributions()
    for path in MODULES:
        libraries = {module.split(".")[0] for module in imports(path)} - sys.stdlib_module_names - {"huiyi"}
        assert {
            name for name in libraries if declared.isdisjoint(owner.lower().replace("_", "-") for owner in provides.get(name, [name]))
        } == set(), path


def loaded_by(*command: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `command`."""
    report = "import atexit, sys; atexit.register(lambda: print('LOADED', *{name.split('.')[0] for name in sys.modules}))\n"
    done = subprocess.run([sys.executable, "-c", report + command[0], *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


HEAVY = {
    "torch",
    "openvino",
    "transformers",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "openpyxl",
    "tokenizers",
    "huggingface_hub",
    "onnxruntime",
    "faiss",
    "nicegui",
    "rjieba",
    "sknetwork",
    "markdown_it",
    "bs4",
    "pypdf",
    "docx",
    "pymilvus",
    "pinecone",
    "ray",
}


def test_importing_huiyi_loads_nothing_heavy() -> None:
    loaded = loaded_by("import huiyi")
    assert "huiyi" in loaded
    assert not loaded & (HEAVY | {"numpy", "typer", "rich"})


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("import huiyi.cli.app; huiyi.cli.app.main()", "--help")
    assert "typer" in loaded
    assert not loaded & (HEAVY | {"numpy"})


def test_help_answers_in_half_a_second() -> None:
    """Processor time, best of three, so that a busy machine does not decide."""
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "huiyi", "--help"], check=True, capture_output=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5
