"""Whether a model that is being served gives the vectors that its folder means, without loading it a second time."""

from dataclasses import dataclass

from huiyi.encoding import selfcheck
from huiyi.encoding.encoder import LocalEncoder
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.hub import locate
from huiyi.errors import InvalidInput
from huiyi.serving import Served
from huiyi.workspace.models import published_sha256


@dataclass(frozen=True)
class ServedCheck:
    """One thing looked at. ok None: it was skipped, and `note` says why. limit: what `value` had to be."""

    name: str
    ok: bool | None
    value: float | None
    limit: str
    note: str


def check_served(served: Served) -> tuple[ServedCheck, ...]:
    """As `model_check` judges, in the precision that is at work. InvalidInput for an adapter, and for a model that runs elsewhere."""
    encoder, origin = served.encoder, served.origin
    if origin is None or served.base is not None or served.is_classifier or not isinstance(encoder, LocalEncoder):
        raise InvalidInput(f"{served.name} cannot be checked while it is served; try huiyi model check on its folder")
    checkpoint = open_checkpoint(locate(origin.model, offline=True)).up_to(origin.max_tokens)
    precision = getattr(encoder, "precision", origin.precision)
    report = selfcheck.check(encoder, precision, checkpoint.pooling == "last", published_sha256(checkpoint.path))
    return tuple(ServedCheck(check.name, check.ok, check.value, check.limit, check.note) for check in report.checks)
