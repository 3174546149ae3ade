"""Models that run on other machines: their servers found, tried, and put together as one `Model`.

What a server is asked for, which tokenizer and template are ours, and which vectors are due is settled here, before the first text.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from huiyi import settings
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.probes import FEW
from huiyi.encoding.recalling import RecallingTokenizer
from huiyi.encoding.remote import Characters, Examiner, RemoteEncoder, RemoteTokenizer, least, wire_of
from huiyi.engines.checkpoint import Checkpoint, open_checkpoint
from huiyi.engines.child import ChildServer, command_of, free_port
from huiyi.engines.hub import locate
from huiyi.engines.openvino import OpenVINOEngine
from huiyi.engines.remote import RemoteEngine
from huiyi.engines.upstream import About, Fault, Unreachable, Upstream, base_of
from huiyi.errors import HuiyiError, InvalidInput, ModelFailed, Unavailable
from huiyi.model import Model
from huiyi.spaces import lasting
from huiyi.types import Floats
from huiyi.workspace.adapters import tokenizer_of

NO_TOKENIZER = "none"
PLAIN_MAX_CHARACTERS = 8192  # where nobody says how long a text may be
REFERENCE_BYTES = 4 * 2**30  # larger weights are not loaded only to compare
SAME_SPACE = 0.999  # as collections judge, see `collection.SAME`


@dataclass(frozen=True)
class Upstreams:
    """Servers with the same weights. asked_for: the model's name there; default the one that each lists.

    key_file: of lines `KEY`, for all of them, or `URL KEY`; default HUIYI_UPSTREAM_KEY_FILE, then HUIYI_UPSTREAM_KEY.
    max_requests: on the way to one of them. timeout_s: for an answer. max_wait_s: for one of them to have room, or to come back.
    """

    urls: tuple[str, ...]
    asked_for: str | None = None
    key_file: Path | None = None
    max_requests: int = 16
    timeout_s: float = 60.0
    max_wait_s: float = 60.0

    @classmethod
    def started(
        cls,
        engine: str,
        model: str,
        arguments: Sequence[str] = (),
        *,
        offline: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> tuple["Upstreams", ChildServer]:
        """SGLang or vLLM with a model, started on this machine; close it. arguments: more of its own.

        Raises what `command_of` and `ChildServer.start` raise.
        """
        folder, port = locate(model, offline=offline), free_port()
        name = model if "/" in model and not Path(model).expanduser().is_dir() else folder.resolve().name
        log_file = settings.home() / "logs" / f"{engine}.log"
        child = ChildServer(engine, command_of(engine, str(folder), name, port, arguments), port, log_file)
        child.start(say)
        return cls((child.url,), name), child


@dataclass(frozen=True)
class Connected:
    """model: over all servers. name: what the servers call it. checkpoint: what it is, without weights; None where nobody knows.

    proven: its vectors were held against those of the weights on this machine.
    """

    model: Model
    name: str
    checkpoint: Checkpoint | None
    proven: bool


def connect_named(name: str, *, max_tokens: int | None = None, offline: bool = False) -> Model:
    """The model behind `URL[,URL…][#MODEL]`; MODEL is as `model` of `connect`."""
    addresses, _, model = name.partition("#")
    return connect(Upstreams(tuple(addresses.split(","))), model or None, max_tokens=max_tokens, offline=offline).model


def connect(
    upstreams: Upstreams,
    model: str | None = None,
    *,
    max_tokens: int | None = None,
    offline: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Connected:
    """model: name or folder whose tokenizer, template and length are used, default what the servers call theirs; "none" sends texts as they
    are. Where its weights are on this machine, the vectors are held against them.

    Raises Unavailable when no server can be reached, ModelFailed naming the server whose vectors are wrong and why, InvalidInput.
    """
    servers = _servers(upstreams)
    try:
        return _connected(servers, upstreams, model, max_tokens, offline, say)
    except BaseException:
        for server in servers:
            server.close()
        raise


def _connected(
    servers: list[Upstream],
    upstreams: Upstreams,
    model: str | None,
    max_tokens: int | None,
    offline: bool,
    say: Callable[[str], None],
) -> Connected:
    abouts: dict[str, About] = {}
    out: list[tuple[Upstream, str]] = []
    for server in servers:
        try:
            abouts[server.url] = introduced(server)
        except Unreachable as error:
            out.append((server, str(error)))
    found = [server for server in servers if server.url in abouts]
    _require_one(found, out)
    name = found[0].model
    lengths = [about.max_tokens for about in abouts.values() if about.max_tokens]
    longest = min([max_tokens, *lengths] if max_tokens else lengths, default=None)
    checkpoint = _described(model, name, offline)
    tokenizer: RemoteTokenizer
    end_of_text = ""
    if checkpoint is None:
        tokenizer = Characters(longest or PLAIN_MAX_CHARACTERS)
    else:
        limit = checkpoint.config.max_positions if max_tokens else checkpoint.max_tokens
        checkpoint = checkpoint.up_to(min(limit, longest or limit))
        own = tokenizer_of(checkpoint)
        tokenizer, end_of_text = RecallingTokenizer(own), own.end_of_text
    weights = _whole(checkpoint)
    if weights:
        say(f"the weights of {model or name} are on this machine: its servers have to give their vectors")
    examiner = Examiner(tokenizer, end_of_text, _reference(weights) if weights else None, say)
    admitted: list[Upstream] = []
    for server in found:
        try:
            examiner(server)
            admitted.append(server)
            say(f"{server.url}: {server.model}, asked with {'token ids' if server.takes_ids else 'texts'}")
        except Unreachable as error:
            out.append((server, str(error)))
        except Fault as error:
            raise ModelFailed(f"{server.url} {error}") from error
    _require_one(admitted, out)
    assert examiner.reference is not None
    for server, reason in out:
        say(f"{server.url} {reason}; it is asked when it is there")
    engine = RemoteEngine(
        admitted,
        wire_of(tokenizer),
        partial(_admit, examiner),
        dim=examiner.reference.shape[1],
        max_tokens=tokenizer.max_tokens,
        out=out,
        max_requests=upstreams.max_requests,
        max_wait_s=upstreams.max_wait_s,
    )
    space = weights.digest if weights else _space(examiner.reference)
    widths = checkpoint.dimensions if checkpoint and checkpoint.config.hidden_size == engine.dim else None
    encoder = RemoteEncoder(tokenizer, engine, space=space, dimensions=widths)
    address = ",".join(server.url if server.base.endswith("/v1") else server.base for server in servers)
    named = f"{address}#{lasting(model)}" if model else address
    about = f"{name} on {len(servers)} server{'s' * (len(servers) > 1)}: {address}"
    prompts = (checkpoint.prompts, checkpoint.default_prompt_name) if checkpoint else ({}, None)
    reopen = partial(connect_named, named, max_tokens=max_tokens, offline=offline)
    return Connected(Model(encoder, named, *prompts, True, reopen, about), name, checkpoint, weights is not None)


def introduced(server: Upstream) -> About:
    """What the server says of itself; its name for the model is settled. Raises Unreachable, InvalidInput."""
    about = server.about()
    if not server.model:
        if len(about.models) != 1:
            told = f"serves several models ({', '.join(about.models)})" if about.models else "does not say which models it serves"
            raise InvalidInput(f"{server.url} {told}; name one with --upstream-model")
        server.model = about.models[0]
    server.max_inputs = about.max_inputs or server.max_inputs
    return about


def _admit(examiner: Examiner, server: Upstream) -> None:
    try:
        introduced(server)
    except InvalidInput as error:
        raise Unreachable(str(error)) from error
    examiner(server)


def _servers(upstreams: Upstreams) -> list[Upstream]:
    bases = [base_of(url) for url in upstreams.urls]
    if not bases or len(set(bases)) < len(bases):
        raise InvalidInput("name each upstream once" if bases else "name an upstream, such as http://gpu1:30000")
    keys = _keys(upstreams.key_file)
    return [
        Upstream(url, upstreams.asked_for or "", key=keys.get(base) or keys.get(""), timeout_s=upstreams.timeout_s)
        for url, base in zip(upstreams.urls, bases, strict=True)
    ]


def _keys(file: Path | None) -> dict[str, str]:
    """Keys by address; "" is for all others."""
    file = file or settings.upstream_key_file()
    if file is None:
        return {"": key} if (key := settings.upstream_key()) else {}
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InvalidInput(f"the keys of the upstreams cannot be read from {file} ({type(error).__name__})") from error
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) > 2:
            raise InvalidInput(f"{file}, line {number}: a line is KEY, or URL KEY")
        if words and not line.startswith("#"):
            keys[base_of(words[0]) if len(words) == 2 else ""] = words[-1]
    if not keys:
        raise InvalidInput(f"{file} holds no key: write KEY, or URL KEY, a line each")
    return keys


def _require_one(found: Sequence[Upstream], out: Sequence[tuple[Upstream, str]]) -> None:
    if not found:
        raise Unavailable("no upstream can be asked: " + "; ".join(f"{server.url} {reason}" for server, reason in out))


def _described(model: str | None, name: str, offline: bool) -> Checkpoint | None:
    """What the model is, from its small files alone; None where the user says that there are none."""
    if model == NO_TOKENIZER:
        return None
    try:
        return open_checkpoint(locate(model or name, offline=offline, weights=False), weights=False)
    except HuiyiError as error:
        if model is not None:
            raise
        raise InvalidInput(
            f"the upstream calls its model {name}, and its tokenizer cannot be had by that name ({error}). Name a model, or a folder with "
            f"config.json and tokenizer.json, with --model; --model none sends texts as they are"
        ) from error


def _whole(described: Checkpoint | None) -> Checkpoint | None:
    """With weights, where its folder has them."""
    if described is None:
        return None
    sizes = [file.stat().st_size for file in described.path.glob("model*.safetensors")]
    if not sizes or sum(sizes) > REFERENCE_BYTES:
        return None
    root = described.path
    folder = root if (root / "modules.json").is_file() or not (root.parent / "modules.json").is_file() else root.parent
    try:
        whole = open_checkpoint(folder)
    except (HuiyiError, OSError):
        return None
    return replace(whole, max_tokens=described.max_tokens)


def _reference(checkpoint: Checkpoint) -> Floats:
    """Vectors of the probe texts as this machine computes them, kept for the next start."""
    kept = settings.home() / "cache" / "probes" / f"{checkpoint.digest}.npy"
    try:
        vectors: Floats = np.load(kept, allow_pickle=False)
        if vectors.shape == (len(FEW), checkpoint.config.hidden_size):
            return vectors
    except (OSError, ValueError):
        pass
    encoder = LocalEncoder(tokenizer_of(checkpoint), OpenVINOEngine(checkpoint), space=checkpoint.digest)
    try:
        vectors = encoder.embed(FEW, prompt="").vectors
    finally:
        encoder.close()
    _keep(kept, vectors)
    return vectors


def _space(reference: Floats) -> str:
    """The name of the vectors' space: that of the same probe vectors seen before, so that what was kept of them is found again."""
    shelf = settings.home() / "upstreams"
    for file in sorted(shelf.glob("*.npy")):
        try:
            known: Floats = np.load(file, allow_pickle=False)
        except (OSError, ValueError):
            continue
        if known.shape == reference.shape and least(known, reference) >= SAME_SPACE:
            return file.stem
    space = hashlib.blake2b(reference.tobytes(), digest_size=16).hexdigest()
    _keep(shelf / f"{space}.npy", reference)
    return space


def _keep(file: Path, vectors: Floats) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.save(stream, vectors)
    part.replace(file)
