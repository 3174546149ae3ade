"""Models made ready to be served: loaded, named, checked against what their folders mean, with their vectors kept."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from huiyi import __version__, settings
from huiyi.encoding import selfcheck
from huiyi.encoding.cache import CachedEncoder
from huiyi.encoding.classifier import PairClassifier
from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.remote import RemoteEncoder
from huiyi.engines import devices
from huiyi.engines.checkpoint import Checkpoint, open_checkpoint
from huiyi.engines.hub import locate
from huiyi.errors import InvalidInput, ModelFailed, NotFound, UnsupportedModel
from huiyi.serving import Origin, Served
from huiyi.spaces import lasting
from huiyi.workspace.adapters import adapted, open_folder, require_effect
from huiyi.workspace.models import load, named, published_sha256
from huiyi.workspace.reranking import load_reranker
from huiyi.workspace.upstreams import NO_TOKENIZER, Upstreams, connect

PUBLISHED_NAME = "Qwen/Qwen3-Embedding-0.6B"
ADAPTER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def serve(
    models: Sequence[str],
    precision: str = "auto",
    threads: int | None = None,
    *,
    served_names: Sequence[str] = (),
    cache: bool = True,
    max_tokens: int | None = None,
    max_request_tokens: int = 300_000,
    offline: bool = False,
    adapters: Sequence[str] = (),
    rerankers: Sequence[str] = (),
    upstreams: Upstreams | None = None,
    engine: str | None = None,
    engine_arguments: Sequence[str] = (),
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Served]:
    """Models loaded and checked, ready to be served; close each. None named: HUIYI_MODEL, which may be unset where rerankers are named.

    A folder is served under its last part, a hub's name under itself with its last part as an alias. served_names: names in the place of
    those, in the order of `models` and then `rerankers`, which answer /v1/rerank. max_tokens: longest text of an embedding model;
    default each folder's own. cache: keep vectors in HUIYI_HOME/cache/vectors. adapters: NAME=DIR each, served under NAME beside the first
    of the models that it fits. upstreams: servers that have the embedding model; `models` then names what `upstreams.connect`
    takes as `model`, one at most. engine: "sglang" or "vllm", started here with the one model and engine_arguments of its own. device: as
    `huiyi.load` has it, for what computes in this process. Raises what `load`, `load_reranker`, `connect` and `Upstreams.started` raise,
    ModelFailed when vectors are not what a model's folder means.
    """
    if upstreams is not None or engine is not None:
        rest = (precision, threads, served_names, cache, max_tokens, max_request_tokens, offline, adapters, rerankers, device, say)
        if engine is None:
            assert upstreams is not None
            return _serve_upstreams(upstreams, models, *rest)
        if upstreams is not None or len(models) > 1:
            raise InvalidInput("an engine that is started here has one model, and no upstreams beside it: start huiyi in front of them all")
        of_child = named(models[0] if models else None)
        started, child = Upstreams.started(engine, of_child, engine_arguments, offline=offline, say=say)
        try:
            served_by_child = _serve_upstreams(started, [of_child], *rest)
        except BaseException:
            child.close()
            raise
        cast(RemoteEncoder, served_by_child[0].encoder).closing.append(child.close)
        return served_by_child
    alone = bool(rerankers) and settings.default_model() is None
    names = list(models) if models or alone else [named(None)]
    if len(served_names) > len(names) + len(rerankers):
        raise InvalidInput(f"{len(served_names)} served names for {len(names) + len(rerankers)} models; give one for each, in their order")
    known = [_served_under(name) for name in (*names, *rerankers)]
    known[: len(served_names)] = [(name, ()) for name in served_names]
    twice = {name for name, _ in known if [other for other, _ in known].count(name) > 1}
    if twice:
        raise InvalidInput(f"two models would be served as {', '.join(sorted(twice))}; name them apart with --served-model-name")
    rounding = "" if devices.named(device) == devices.CPU else " torch"
    put_on = _named_folders(adapters, {known_as for name, aliases in known for known_as in (name, *aliases)})
    served: list[Served] = []
    try:
        for name, (under, aliases) in zip(names, known[: len(names)], strict=True):
            folder = locate(name, offline=offline)
            model = load(str(folder), precision, threads, max_tokens=max_tokens, device=device)
            encoder, checkpoint = cast(LocalEncoder, model.encoder), open_checkpoint(folder).up_to(max_tokens)
            resolved = encoder.precision
            variant = f"{resolved}{rounding} {__version__}" if cache else None
            origin = Origin(lasting(name), precision, max_tokens, device=device)
            adapting = _Adapting(under, encoder, checkpoint, variant, max_request_tokens, origin)
            served.append(
                Served(
                    under,
                    encoder,
                    aliases=aliases,
                    cached=_cached(encoder, variant),
                    max_request_tokens=max_request_tokens,
                    adapting=adapting,
                    origin=origin,
                )
            )
            say(f"{name} in {resolved}: looking at its vectors")
            report = selfcheck.check(encoder, resolved, checkpoint.pooling == "last", published_sha256(folder))
            _require_passed(name, report)
        for name, (under, aliases) in zip(rerankers, known[len(names) :], strict=True):
            reranker = load_reranker(name, precision, threads, offline=offline, device=device, say=say)
            served.append(Served(under, reranker, aliases=aliases, max_request_tokens=max_request_tokens))
        for name, folder in put_on.items():
            say(f"{name}: looking at the adapter in {folder}")
            served.append(_put_on_first(served[: len(names)], name, folder))
    except BaseException:
        for each in reversed(served):
            each.close(drain=False)
        raise
    return served


def _serve_upstreams(
    upstreams: Upstreams,
    models: Sequence[str],
    precision: str,
    threads: int | None,
    served_names: Sequence[str],
    cache: bool,
    max_tokens: int | None,
    max_request_tokens: int,
    offline: bool,
    adapters: Sequence[str],
    rerankers: Sequence[str],
    device: str | None,
    say: Callable[[str], None],
) -> list[Served]:
    """The model behind the upstreams, and rerankers of this process."""
    if len(models) > 1:
        raise InvalidInput("upstreams have one model: --model names its tokenizer, once")
    if adapters:
        raise InvalidInput("an upstream's adapters are its own matter: start it with them, and name the adapter with --upstream-model")
    found = connect(upstreams, models[0] if models else None, max_tokens=max_tokens, offline=offline, say=say)
    encoder = cast(LocalEncoder, found.model.encoder)
    served: list[Served] = []
    try:
        if found.checkpoint is not None:
            published = selfcheck.PUBLISHED_SHA256 if found.name == PUBLISHED_NAME and not found.proven else None
            _require_passed(found.name, selfcheck.check(encoder, "int8", found.checkpoint.pooling == "last", published))
        named_by = models[0] if models and models[0] != NO_TOKENIZER else found.name
        under, aliases = (served_names[0], ()) if served_names else _served_under(named_by)
        cached = _cached(encoder, f"upstream {__version__}" if cache else None)
        origin = Origin(found.model.name, "auto", max_tokens)
        served.append(Served(under, encoder, aliases=aliases, cached=cached, max_request_tokens=max_request_tokens, origin=origin))
        for i, name in enumerate(rerankers, 1):
            as_, also = (served_names[i], ()) if i < len(served_names) else _served_under(name)
            if any(as_ in (each.name, *each.aliases) for each in served):
                raise InvalidInput(f"two models would be served as {as_}; name them apart with --served-model-name")
            reranker = load_reranker(name, precision, threads, offline=offline, device=device, say=say)
            served.append(Served(as_, reranker, aliases=also, max_request_tokens=max_request_tokens))
    except BaseException:
        encoder.close(drain=False)
        for each in served:
            each.close(drain=False)
        raise
    return served


def _require_passed(name: str, report: selfcheck.Report) -> None:
    if not report.ok:
        found = "; ".join(f"{check.name} {check.value} {check.limit} {check.note}".strip() for check in report.failed)
        raise ModelFailed(f"{name} does not give the vectors that its folder means ({found}); see `huiyi model check`")


def load_adapter(models: Sequence[Served], name: str) -> Served:
    """The adapter in HUIYI_HOME/adapters/NAME, served under its name beside the first of `models` that it fits; close it to unload it.

    Raises InvalidInput for a name that is none, NotFound, UnsupportedModel with the reason, ModelFailed for one without effect.
    """
    if not ADAPTER_NAME.fullmatch(name):
        raise InvalidInput(f"an adapter's name has letters, digits, - and _ only, 64 at most, and {name[:64]!r} has others")
    shelf = settings.home() / "adapters"
    if not (shelf / name).is_dir():
        there = sorted(path.name for path in shelf.iterdir() if path.is_dir()) if shelf.is_dir() else []
        raise NotFound(f"there is no adapter {name} in HUIYI_HOME/adapters; there are: {', '.join(there[:20]) or 'none'}")
    return _put_on_first(models, name, shelf / name)


@dataclass(frozen=True)
class _Adapting:
    """Makes adapters served models beside one base. variant: of the vector cache, None to keep nothing."""

    base: str
    encoder: LocalEncoder
    checkpoint: Checkpoint
    variant: str | None
    max_request_tokens: int
    origin: Origin

    def __call__(self, name: str, folder: Path) -> Served:
        made = adapted(self.encoder, self.checkpoint, open_folder(folder, self.checkpoint), shared=True)
        require_effect(name, self.encoder, made)
        cached = None if isinstance(made, PairClassifier) else _cached(made, self.variant)
        origin = replace(self.origin, adapter=str(folder.resolve()))
        return Served(name, made, cached=cached, max_request_tokens=self.max_request_tokens, base=self.base, origin=origin)


def _cached(encoder: LocalEncoder, variant: str | None) -> CachedEncoder | None:
    return CachedEncoder(encoder, settings.home() / "cache" / "vectors", variant=variant) if variant else None


def _named_folders(adapters: Sequence[str], taken: set[str]) -> dict[str, Path]:
    """NAME=DIR each. Raises InvalidInput for what is none, and for names that are taken."""
    folders: dict[str, Path] = {}
    for given in adapters:
        name, equals, folder = given.partition("=")
        if not equals or not folder or not ADAPTER_NAME.fullmatch(name):
            raise InvalidInput(f"--adapter takes NAME=DIR, with letters, digits, - and _ in NAME, not {given!r}")
        if name in taken | set(folders):
            raise InvalidInput(f"two models would be served as {name}; give the adapter another name")
        folders[name] = Path(folder).expanduser()
    return folders


def _put_on_first(models: Sequence[Served], name: str, folder: Path) -> Served:
    """Beside the first model that it fits; where it fits none, the first one's refusal."""
    refusals: list[UnsupportedModel] = []
    for model in models:
        if model.adapting is not None:
            try:
                return model.adapting(name, folder)
            except UnsupportedModel as error:
                refusals.append(error)
    raise refusals[0] if refusals else InvalidInput("no model is served here to which an adapter could belong")


def _served_under(name: str) -> tuple[str, tuple[str, ...]]:
    """The name that answers give, and others that are understood."""
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser().resolve().name, ()
    return name, (name.rpartition("/")[2],) if "/" in name else ()
