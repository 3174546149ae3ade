"""What a stranger installs: the contents of wheel and sdist, an installation and a demo outside the repository, the Dockerfile's steps."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
CORE_LIMIT_MB = 700
FOUND = "订单超过48小时未发货怎么办"  # an entry of the FAQ that the demo finds with the bundled model


def run(*command: object, cwd: Path, **more: str) -> str:
    """Output of a command that sees nothing of this repository's environment."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HUIYI_", "PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env | more, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from what is in the working tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=REPOSITORY)
    return folder


@pytest.fixture(scope="session")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    wheel = next(built.glob("*.whl"))
    run(folder / "bin" / "pip", "install", "-q", "-c", REPOSITORY / "constraints.txt", wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    files = {name for name in names if ".dist-info/" not in name}
    source = REPOSITORY / "src"
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files == there
    assert "huiyi/py.typed" in files
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_says_what_it_needs(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
        metadata = HeaderParser().parsestr(wheel.read(name).decode("utf-8"))
    core = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not [line for line in core if re.match(r"torch|transformers|sentence", line)]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"train", "torch", "parquet", "files", "milvus", "pinecone", "ray", "test"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_sdist_can_build_and_test_itself(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames()}
    needed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "tests/conftest.py",
        "examples/sklearn_pipeline.py",
        "docs/generate.py",
    }
    assert needed <= names
    weights = "src/huiyi/starter/model.safetensors"
    assert weights in names
    assert not [name for name in names - {weights} if name.endswith((".pyc", ".npy", ".safetensors"))]


def test_every_requirement_of_core_and_tests_is_pinned_for_continuous_integration() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pins = {line.split("==")[0] for line in lines if line and not line.startswith("#")}
    extras = PROJECT["optional-dependencies"]
    within = {extra for line in extras["test"] if line.startswith("huiyi[") for extra in re.findall(r"\w+", line)[1:]}
    required = [*PROJECT["dependencies"], *(line for extra in ("test", "bench", *sorted(within)) for line in extras[extra])]
    names = {re.split(r"[\s\[<>=!;]", requirement)[0] for requirement in required} - {"huiyi"}
    assert names | {"torch"} == pins


def test_the_core_installs_without_torch_and_stays_small(installed: Path) -> None:
    packages = next(installed.parent.glob("lib/*/site-packages"))
    assert not [name for name in ("torch", "transformers", "sentence_transformers", "pandas") if (packages / name).exists()]
    size = sum(path.lstat().st_blocks * 512 for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
    assert size / 2**20 <= CORE_LIMIT_MB


def test_the_wheel_works_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    printed = run(installed / "huiyi", "demo", "--no-serve", cwd=tmp_path, HUIYI_HOME=str(tmp_path / "home"))
    assert FOUND in printed
    where = run(installed / "python", "-c", "import huiyi; print(huiyi.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "embed" in run(installed / "huiyi", "--help", cwd=tmp_path)


def test_the_sdist_works_outside_the_repository(built: Path, installed: Path, tmp_path: Path) -> None:
    run(installed / "pip", "install", "-q", "--force-reinstall", "--no-deps", next(built.glob("*.tar.gz")), cwd=tmp_path)
    assert FOUND in run(installed / "huiyi", "demo", "--no-serve", cwd=tmp_path, HUIYI_HOME=str(tmp_path / "home"))


def steps(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) in order, continuation lines joined."""
    text = re.sub(r"\\\n\s*", " ", dockerfile.read_text("utf-8"))
    return [
        (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip() and not line.startswith("#")
    ]


@pytest.mark.slow
def test_the_steps_of_the_dockerfile_give_a_working_command(tmp_path: Path, minilm: Path) -> None:
    """Without Docker: the image's root is a folder, its Python a fresh environment; paths that begin with / are put below the folder."""
    root, venv = tmp_path / "root", tmp_path / "venv"
    root.mkdir()
    run(sys.executable, "-m", "venv", venv, cwd=tmp_path)
    env = {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    here, entry, default = root, [], []

    def below(path: str) -> str:
        return str(root) + path if path.startswith("/") else path

    for instruction, rest in steps(REPOSITORY / "Dockerfile"):
        words = shlex.split(rest)
        if instruction == "WORKDIR":
            here = Path(below(words[0]))
            here.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            *sources, target = words
            for source in sources:
                whole, place = REPOSITORY / source, here / target
                if whole.is_dir():
                    shutil.copytree(whole, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(whole, place)
        elif instruction == "RUN":
            run(*map(below, words), cwd=here, **env)
        elif instruction == "ENV":
            key, _, value = rest.partition("=")
            env[key] = below(value)
        elif instruction in ("ENTRYPOINT", "CMD"):
            exec_form = re.findall(r'"([^"]*)"', rest)
            entry, default = (exec_form, default) if instruction == "ENTRYPOINT" else (entry, exec_form)
        else:
            assert instruction in ("FROM", "VOLUME", "USER", "EXPOSE"), f"{instruction}: this test does not know how to run it"
    assert "Usage" in run(*entry, *default, cwd=here, **env)
    (here / "tickets.csv").write_text("id,question\n1,The app closes by itself\n", "utf-8")
    run(*entry, "embed", "tickets.csv", "--text", "question", "-o", "tickets.npy", cwd=here, HUIYI_MODEL=str(minilm), **env)
    assert (here / "tickets.npy").stat().st_size > 384 * 4
