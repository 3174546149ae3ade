"""Where a model lies: a local folder as it is, the bundled starter, or a name that is downloaded once from a hub and remembered.

Weights come last, and only for a model that can be run. A model that was fetched whole is noted below HUIYI_HOME and used from
then on without asking the network.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from huiyi import settings
from huiyi.engines.downloads import Hub, HuggingFace, ModelScope, weight_files
from huiyi.engines.families import read_config
from huiyi.errors import InvalidInput, NotFound, UnsupportedModel

HUBS = ("hf", "modelscope")
STARTER = "starter"


@dataclass(frozen=True)
class Pulled:
    """A model that was downloaded whole. revision: as asked for, None for the hub's default."""

    hub: str
    name: str
    revision: str | None
    path: Path


def locate(
    name_or_path: str | Path,
    *,
    hub: str | None = None,
    revision: str | None = None,
    offline: bool = False,
    refresh: bool = False,
    weights: bool = True,
) -> Path:
    """The folder of a model: a local one as it is, else the one that the hub's cache holds, downloaded when it is not there yet.

    A name is `owner/name`, with `hf:` or `modelscope:` in front to choose the hub (default: `hub`, else HUIYI_HUB, else hf).
    `starter` is the model that the package brings, unless a hub or revision is asked for; where a model folder of that name lies in the
    working directory the name is refused, and `./starter` is the folder. revision: branch, tag or commit. offline: never ask the network.
    refresh: ask the hub even where the model is already there. weights: without them the small files are enough, and nothing is noted.
    Raises NotFound, Unavailable, UnsupportedModel (before the weights are fetched), MissingExtra, InvalidInput.
    """
    if name_or_path == STARTER and hub is None and revision is None:
        return _bundled()
    folder = Path(name_or_path).expanduser()
    if str(name_or_path) and folder.is_dir():
        return folder
    if folder.is_file():
        raise NotFound(f"{folder} is a file; a model is a folder with config.json, tokenizer.json and model.safetensors")
    hub, name = _parse(str(name_or_path), hub)
    known = next((model for model in pulled() if (model.hub, model.name, model.revision) == (hub, name, revision)), None)
    if known and (offline or not refresh):
        return known.path
    path = _pull(hub, name, revision, offline, weights)
    if not offline and weights:
        _remember(Pulled(hub, name, revision, path))
    return path


def _bundled() -> Path:
    """The package's own model. A folder of its name that holds none (scripts, data) is not meant by anybody who names a model."""
    if (Path(STARTER) / "config.json").is_file() or (Path(STARTER) / "modules.json").is_file():
        raise InvalidInput("starter is the bundled model, and a model folder starter lies here too: write ./starter for the folder")
    return Path(__file__).parent.parent / STARTER


def pulled() -> list[Pulled]:
    """The models that were downloaded and are still there, by name."""
    models = []
    for note in _notes().glob("*.json"):
        fields = json.loads(note.read_text("utf-8"))
        model = Pulled(fields["hub"], fields["name"], fields["revision"], Path(fields["path"]))
        if any(file.is_file() for file in model.path.glob("**/model*.safetensors")):
            models.append(model)
    return sorted(models, key=lambda model: (model.name, model.hub, model.revision or ""))


def _notes() -> Path:
    return settings.home() / "models"


def _remember(model: Pulled) -> None:
    key = hashlib.blake2b(f"{model.hub} {model.name} {model.revision}".encode(), digest_size=4).hexdigest()
    note = _notes() / f"{model.name.replace('/', '--')}-{key}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    unfinished = note.with_suffix(".tmp")
    unfinished.write_text(json.dumps(asdict(model) | {"path": str(model.path)}), "utf-8")
    unfinished.replace(note)


def _parse(name: str, hub: str | None) -> tuple[str, str]:
    prefix, _, rest = name.partition(":")
    if prefix in HUBS and rest:
        hub, name = prefix, rest
    hub = hub or settings.hub()
    if hub not in HUBS:
        raise InvalidInput(f"the hub {hub!r} is not known; there are {' and '.join(HUBS)}")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise NotFound(f"there is no folder {name}, and it is no name of a model on a hub (owner/name)")
    if "/" not in name and hub == "hf":
        name = f"sentence-transformers/{name}"  # a bare name means the same as in that library
    return hub, name


def _pull(hub: str, name: str, revision: str | None, offline: bool, weights: bool) -> Path:
    source: Hub = (HuggingFace if hub == "hf" else ModelScope)(name, revision, offline)
    folder = source.small_files()
    root = next((root for root in (folder, folder / "0_Transformer") if (root / "config.json").is_file()), None)
    if root is None:
        raise UnsupportedModel(f"{name} has no config.json on the hub: it is not a model that can be read")
    read_config(json.loads((root / "config.json").read_text("utf-8")), f"{name}/config.json")
    if weights:
        source.weights(folder, [(root / file).relative_to(folder).as_posix() for file in weight_files(root)])
    return folder
