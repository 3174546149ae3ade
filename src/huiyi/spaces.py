"""The space law: a collection keeps the vectors of eight probe texts, and a model that is used on it must give the same ones.

Texts become vectors here and nowhere else in a collection. Knows no collection and no store behind the `Facts` of one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from huiyi.encoding.encoder import LocalEncoder
from huiyi.encoding.machines import RayEncoder
from huiyi.encoding.probes import FEW
from huiyi.errors import Conflict
from huiyi.model import Model
from huiyi.stores.store import Facts
from huiyi.types import Embedded, Kind

LONGEST_TEXT = 500_000  # characters that a model is given; none reads 32,768 tokens of 15 characters each
# The least cosine of a probe text's vector with the stored one, and where int8 computes or nobody knows what does.
SAME, SAME_INT8 = 0.999, 0.995


def embed(model: Model, texts: Sequence[str], kind: Kind, instruction: str | None = None, dimensions: int | None = None) -> Embedded:
    """Vectors of full or cut width; a text that is too long loses its end."""
    encoder = model.encoder
    width = None if dimensions == encoder.dim else dimensions
    if isinstance(encoder, LocalEncoder | RayEncoder):
        return encoder.embed([text[:LONGEST_TEXT] for text in texts], kind, instruction, width, truncate="end")
    return encoder.embed(texts, kind, instruction, width)


def facts_of(model: Model, instruction: str | None, dimensions: int | None) -> Facts:
    """What a new collection of this model is."""
    probes = embed(model, FEW, "document", dimensions=dimensions).vectors
    return Facts(lasting(model.name), model.encoder.space, precision_of(model), probes.shape[1], instruction, probes)


def lasting(model: str) -> str:
    """The name of a model; of a folder its whole path, since it will be asked for from other places."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if any((folder / name).is_file() for name in ("config.json", "modules.json")) else model


def precision_of(model: Model) -> str:
    return str(getattr(model.encoder, "precision", ""))


def require_same_space(name: str, facts: Facts, model: Model) -> None:
    """Conflict unless the model gives the vectors that the collection holds: proven by the probe texts, or by the digest of its weights."""
    if facts.dim == model.encoder.dim and facts.space == model.encoder.space:
        return
    way_out = f"open it with model={facts.model!r}, or embed it anew with huiyi reindex {name} --model {model.name}"
    if facts.dim > model.encoder.dim:
        raise Conflict(f"{name} holds vectors of {facts.dim} numbers from {facts.model}; {model.name} gives {model.encoder.dim}: {way_out}")
    probes = embed(model, FEW, "document", dimensions=facts.dim).vectors
    least = float(np.einsum("nd,nd->n", probes, facts.probes / np.linalg.norm(facts.probes, axis=1, keepdims=True)).min())
    exact = {facts.precision, precision_of(model)} <= {"fp32", "bf16"}
    if least < (SAME if exact else SAME_INT8):
        raise Conflict(
            f"{name} holds vectors of {facts.model}, and {model.name} gives others (cosine {least:.3f} on a probe text): {way_out}"
        )
