"""Names become folders: the real download code against a stand-in of the hub, each time in a fresh process with its own cache."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from huiyi import errors
from huiyi.engines.hub import locate, pulled
from standin_hub import COMMIT, StandInHub
from tiny import rewrite_json, tiny_bert, tiny_qwen3

SCRIPT = """
import json, sys
from huiyi.engines.hub import locate
from huiyi.errors import HuiyiError
try:
    print("ANSWER", json.dumps({"path": str(locate(sys.argv[1], **json.loads(sys.argv[2])))}))
except HuiyiError as error:
    print("ANSWER", json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@dataclass
class Machine:
    """A home of its own, with the hub's caches in it."""

    home: Path
    environment: dict[str, str]

    def locate(self, name: str, endpoint: str, environment: Mapping[str, str] | None = None, **options: object) -> dict[str, str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUIYI_", "MODELSCOPE_"))}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, name, json.dumps(options)],
            env=keep | self.environment | {"HF_ENDPOINT": endpoint} | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "ANSWER" in done.stdout, done.stderr
        return json.loads(done.stdout.rpartition("ANSWER")[2])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folders = {"HF_HOME": "hf", "HUIYI_HOME": "huiyi", "HOME": "."}
    return Machine(tmp_path, {name: str(tmp_path / folder) for name, folder in folders.items()} | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hub")
    qwen3 = tiny_qwen3(folder / "qwen3", sharded=True)
    (qwen3 / "pytorch_model.bin").write_bytes(b"a pickle")
    (qwen3 / "modeling.py").write_text("raise SystemExit")
    (qwen3 / "README.md").write_text("A tiny model.")
    other = tiny_bert(folder / "other")
    rewrite_json(other / "config.json", model_type="mistral")
    (folder / "no-model").mkdir()
    (folder / "no-model" / "README.md").write_text("Not a model.")
    pickled = tiny_bert(folder / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    return {
        "tiny/qwen3": qwen3,
        "tiny/other": other,
        "tiny/pickled": pickled,
        "tiny/no-model": folder / "no-model",
        "sentence-transformers/tiny-bert": tiny_bert(folder / "bert"),
    }


@pytest.fixture
def hub(models: dict[str, Path]) -> Iterator[StandInHub]:
    with StandInHub(models, gated=("tiny/gated",)) as hub:
        yield hub


def nowhere() -> str:
    """An address at which nothing listens any more."""
    with StandInHub({}) as hub:
        return hub.url


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny" / "qwen3").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert locate(tmp_path / "tiny") == tmp_path / "tiny"
    assert locate("~/tiny") == tmp_path / "tiny"
    assert locate("tiny/qwen3") == Path("tiny/qwen3")


@pytest.mark.parametrize("path", ["/no/such/model", "./model", "../model", "~/no-such-model", "a/b/c", "two words", ""])
def test_a_path_that_is_not_there_is_said_without_asking_a_hub(path: str) -> None:
    with pytest.raises(errors.NotFound, match="there is no folder"):
        locate(path)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(errors.NotFound, match="is a file"):
        locate(tmp_path / "model.gguf")


def test_a_model_is_pulled_without_pickles_and_code_and_then_used_without_the_network(
    machine: Machine, hub: StandInHub, models: dict[str, Path]
) -> None:
    first = Path(machine.locate("tiny/qwen3", hub.url)["path"])
    assert {file.name for file in first.rglob("*") if file.is_file()} == {
        file.name for file in models["tiny/qwen3"].rglob("*") if file.is_file()
    } - {"pytorch_model.bin", "modeling.py"}
    for file in models["tiny/qwen3"].glob("*.safetensors"):
        assert (first / file.name).read_bytes() == file.read_bytes()
    assert not hub.fetched() & {"pytorch_model.bin", "modeling.py"}

    asked = len(hub.requests)
    assert machine.locate("tiny/qwen3", hub.url)["path"] == str(first)
    assert machine.locate("hf:tiny/qwen3", nowhere())["path"] == str(first)
    assert len(hub.requests) == asked
    assert machine.locate("tiny/qwen3", hub.url, refresh=True)["path"] == str(first)
    assert len(hub.requests) > asked


def test_what_was_pulled_is_listed_while_it_is_there(machine: Machine, hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUIYI_HOME", machine.environment["HUIYI_HOME"])
    assert pulled() == []
    path = Path(machine.locate("tiny/qwen3", hub.url)["path"])
    machine.locate("tiny/qwen3", hub.url, revision=COMMIT)
    assert [(model.name, model.revision, model.path) for model in pulled()] == [("tiny/qwen3", None, path), ("tiny/qwen3", COMMIT, path)]
    for file in path.glob("*.safetensors"):
        file.unlink()
    assert pulled() == []


def test_a_bare_name_is_one_of_sentence_transformers(machine: Machine, hub: StandInHub) -> None:
    assert "models--sentence-transformers--tiny-bert" in machine.locate("tiny-bert", hub.url)["path"]


def test_a_private_model_is_fetched_with_the_token_of_the_environment(machine: Machine, models: dict[str, Path]) -> None:
    with StandInHub(models, token="hf_secret") as hub:
        assert "HF_TOKEN" in machine.locate("tiny/qwen3", hub.url)["message"]
        assert "path" in machine.locate("tiny/qwen3", hub.url, {"HF_TOKEN": "hf_secret"})
        assert any(path.startswith("/store/") for _, path, _ in hub.requests)
        assert hub.leaks == []


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("tiny/unknown", {}, "NotFound", ["no model of that name", "HF_ENDPOINT", "modelscope:", "folder"]),
        ("tiny/gated", {}, "NotFound", ["gated", "HF_TOKEN"]),
        ("tiny/qwen3", {"revision": "v9"}, "NotFound", ["no revision 'v9'"]),
        ("tiny/qwen3", {"offline": True}, "NotFound", ["not on this machine", "pull it once"]),
        ("tiny/other", {}, "UnsupportedModel", ["mistral", "qwen3, bert"]),
        ("tiny/pickled", {}, "UnsupportedModel", ["no safetensors", "safe_serialization=True"]),
        ("tiny/no-model", {}, "UnsupportedModel", ["no config.json"]),
        ("modelscope:tiny/qwen3", {}, "MissingExtra", ["huiyi[modelscope]"]),
        ("tiny/qwen3", {"hub": "elsewhere"}, "InvalidInput", ["elsewhere", "hf and modelscope"]),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_way_out(
    machine: Machine, hub: StandInHub, name: str, options: dict[str, object], error: str, words: list[str]
) -> None:
    answer = machine.locate(name, hub.url, **options)
    assert answer["error"] == error
    assert all(word in answer["message"] for word in words), answer["message"]
    assert not {file for file in hub.fetched() if file.endswith((".safetensors", ".bin"))}


def test_without_a_network_the_answer_comes_soon_and_names_the_other_ways(machine: Machine) -> None:
    start = time.monotonic()
    answer = machine.locate("tiny/qwen3", nowhere())
    assert answer["error"] == "Unavailable"
    assert all(word in answer["message"] for word in ["cannot be reached", "HF_ENDPOINT", "modelscope:", "folder"])
    assert time.monotonic() - start < 20


def test_a_pulled_model_serves_offline_and_an_unknown_one_is_refused(machine: Machine, hub: StandInHub) -> None:
    path = machine.locate("tiny/qwen3", hub.url)["path"]
    asked = len(hub.requests)
    assert machine.locate("tiny/qwen3", hub.url, offline=True, refresh=True)["path"] == path
    assert machine.locate("tiny/qwen3", hub.url, {"HF_HUB_OFFLINE": "1"})["path"] == path
    assert machine.locate("tiny/qwen3", hub.url, {"HUIYI_HOME": str(machine.home / "new")}, offline=True)["path"] == path
    assert machine.locate("tiny-bert", hub.url, {"HF_HUB_OFFLINE": "1"})["error"] == "NotFound"
    assert len(hub.requests) == asked


def test_a_broken_download_is_an_error_and_the_next_run_goes_on_where_it_stopped(
    machine: Machine, models: dict[str, Path], tmp_path: Path
) -> None:
    """The library writes to disk 10 MB at a time."""
    large = shutil.copytree(models["sentence-transformers/tiny-bert"], tmp_path / "large")
    with (large / "model.safetensors").open("ab") as stream:
        stream.write(os.urandom(25_000_000))
    with StandInHub({"tiny/large": large}) as hub:
        hub.break_weights_after = 15_000_000
        answer = machine.locate("tiny/large", hub.url)
        assert answer["error"] == "Unavailable"
        assert "goes on where it stopped" in answer["message"]
        assert not list(machine.home.glob("hf/**/model.safetensors"))

        hub.break_weights_after, hub.requests = None, []
        path = Path(machine.locate("tiny/large", hub.url)["path"])
        assert (path / "model.safetensors").read_bytes() == (large / "model.safetensors").read_bytes()
        ranges = [range_ for method, path, range_ in hub.requests if method == "GET" and path.startswith("/store/")]
        assert ranges == ["bytes=10485760-"]


def test_damaged_weights_are_removed_and_pulled_anew(machine: Machine, hub: StandInHub) -> None:
    hub.damage_weights = True
    answer = machine.locate("tiny-bert", hub.url)
    assert answer["error"] == "Unavailable"
    assert "SHA-256" in answer["message"]
    hub.damage_weights = False
    assert "path" in machine.locate("tiny-bert", hub.url)


MODELSCOPE = """
from pathlib import Path
def snapshot_download(model_id, revision=None, allow_patterns=None, local_files_only=False):
    if model_id != "tiny/qwen3":
        raise ValueError(f"404: the repo {model_id} does not exist")
    Path(SEEN).open("a").write(f"{revision} {allow_patterns} {local_files_only}\\n")
    return FOLDER
"""


def test_modelscope_is_asked_by_prefix_or_by_environment(machine: Machine, models: dict[str, Path]) -> None:
    """A stand-in of the `modelscope` package: its own server's API is its own affair."""
    package, seen = machine.home / "packages", machine.home / "seen"
    package.mkdir()
    (package / "modelscope.py").write_text(f"SEEN, FOLDER = {str(seen)!r}, {str(models['tiny/qwen3'])!r}\n" + MODELSCOPE)
    environment = {"PYTHONPATH": str(package)}
    assert machine.locate("modelscope:tiny/qwen3", nowhere(), environment, revision="v1")["path"] == str(models["tiny/qwen3"])
    lines = seen.read_text().splitlines()
    assert all(line.startswith("v1 ") and line.endswith(" False") for line in lines)
    assert "*.json" in lines[0]
    assert "model-00001-of-" in lines[1]
    assert machine.locate("tiny/qwen3", nowhere(), environment | {"HUIYI_HUB": "modelscope"})["path"] == str(models["tiny/qwen3"])
    answer = machine.locate("tiny/nothing", nowhere(), environment | {"HUIYI_HUB": "modelscope"})
    assert answer["error"] == "NotFound"
    assert "tiny/nothing" in answer["message"]
