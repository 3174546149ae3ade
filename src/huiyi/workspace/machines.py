"""A model on every machine of a Ray cluster, as one `Model`: its name made good for all of them, and its tokenizer kept here."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from huiyi import __version__
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.machines import RayEncoder
from huiyi.encoding.tokenizer import Tokenizer
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.hub import locate
from huiyi.errors import Conflict, HuiyiError, InvalidInput
from huiyi.model import Model
from huiyi.spaces import lasting
from huiyi.workspace import models
from huiyi.workspace.adapters import tokenizer_of
from huiyi.workspace.texts import Load


def load_on_machines(
    address: str,
    name_or_path: str | None = None,
    precision: str = "auto",
    threads: int | None = None,
    *,
    max_tokens: int | None = None,
    offline: bool = False,
    adapter: str | Path | None = None,
    load: Load | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Model:
    """As `load`, on the machines that `RayEncoder` finds at `address`; close it. A folder has to lie at the same place on all of them.

    threads: of a worker. load: in the place of `load`, on the machines too.
    """
    name = lasting(models.named(name_or_path))
    if name.startswith(("http://", "https://")):
        raise InvalidInput(f"{name} is asked over HTTP, from here: leave --ray out")
    options = {"max_tokens": max_tokens, "offline": offline, "adapter": adapter and str(Path(adapter).expanduser().resolve())}
    given = {option: value for option, value in options.items() if value}
    opening = partial(_encoder, __version__, load or models.load, name, precision, given)
    encoder = RayEncoder(opening, address, threads, tokenizer=_tokenizer(name, max_tokens, offline), say=say)
    workers = encoder.machines
    among = ", ".join(sorted(set(workers)))
    about = f"{name} in {encoder.precision} on {len(workers)} worker{'s' * (len(workers) != 1)} so far: {among}"
    return Model(encoder, name, about=about)


def _encoder(version: str, load: Load, name: str, precision: str, options: Mapping[str, Any], threads: int) -> LocalEncoder:
    """Runs on a machine of the cluster. version: of huiyi, where the command was typed."""
    if version != __version__:
        raise Conflict(f"huiyi {__version__} is installed there, and {version} here: install the same on all machines")
    encoder = load(name, precision, threads, **options).encoder
    assert isinstance(encoder, LocalEncoder)
    return encoder


def _tokenizer(name: str, max_tokens: int | None, offline: bool) -> Tokenizer | None:
    """None where this machine does not have it; only documents that are cut into chunks need it."""
    try:
        return tokenizer_of(open_checkpoint(locate(name, offline=offline, weights=False), weights=False).up_to(max_tokens))
    except HuiyiError:
        return None
