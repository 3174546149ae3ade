"""Does this encoder give the vectors its checkpoint means? Behaviour every model must show, and the published numbers of one of them.

`check` stands behind `huiyi model check`; `compare` holds two encoders of the same weights against each other (int8 against fp32);
`changes` and `same_merged` judge an adapter.
Knows encoders only: no engine, no file, no HTTP. It judges what an encoder does, never a name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from huiyi.encoding import probes
from huiyi.errors import HuiyiError, InvalidInput, ModelFailed
from huiyi.types import Encoder, Floats

CLOSE = {"int8": 0.998}  # cosine of a text in company to the same text alone; activations are quantised by groups in int8
CLOSE_DEFAULT = 0.9999
SAME_WEIGHTS = {"int8": 0.995}  # from here on two encoders are one space
SAME_WEIGHTS_DEFAULT = 0.999
EQUAL = 1 - 1e-6  # cosine from which two vectors are taken for one
MERGED = 0.9999

# The one weights file of Qwen/Qwen3-Embedding-0.6B, revision 97b0c61, whose numbers these are: model.safetensors.
PUBLISHED_BYTES = 1_191_586_416
PUBLISHED_SHA256 = "0437e45c94563b09e13cb7a64478fc406947a93cb34a7e05870fc8dcd48e23fd"
# The model card's example: two queries with the default task against two documents, and the scores it prints.
CARD_QUERIES = ("What is the capital of China?", "Explain gravity")
CARD_DOCUMENTS = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is responsible for the "
    "movement of planets around the sun.",
)
CARD_SCORES = ((0.7645568, 0.1414251), (0.1354974, 0.5999550))
# fastembed tests/test_text_onnx_embeddings.py, a document, unit length.
HELLO_WORLD = (-0.01476084, 0.01723184, -0.01195498, -0.07275258, 0.00281229)
# text-embeddings-inference, snapshot test_qwen3__qwen3_cpu_single, a document, not normalised.
DEEP_LEARNING = (-1.5195851, -3.0843177, -1.0581057, -6.4716716, -1.6939588, 6.247706, -6.0047812, 0.33277434, -7.076037, 1.6089259)


@dataclass(frozen=True)
class Check:
    """One thing looked at. `limit` says what `value` had to be, such as `>= 0.9999`; ok None: skipped, and `note` says why."""

    name: str
    ok: bool | None
    value: float | None = None
    limit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Report:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Nothing failed; what was skipped does not count."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if c.ok is False)


@dataclass(frozen=True)
class Comparison:
    """How far two encoders agree over `texts` texts, by the cosine of a text's two vectors.

    same_nearest: share of texts whose nearest other text is the same one under both. worst: (text, cosine), least alike first.
    limit: what the mean has to reach; no text may be four times as far off.
    """

    texts: int
    min_cosine: float
    mean_cosine: float
    same_nearest: float
    worst: tuple[tuple[str, float], ...]
    limit: float
    ok: bool


@dataclass(frozen=True)
class _Subject:
    encoder: Encoder
    precision: str
    last_token: bool
    weights_sha256: str | None

    @property
    def close(self) -> float:
        return CLOSE.get(self.precision, CLOSE_DEFAULT)

    @cached_property
    def few(self) -> Floats:
        return self.vectors(*probes.FEW)

    def vectors(self, *texts: str, dimensions: int | None = None) -> Floats:
        vectors = self.encoder.embed(texts, dimensions=dimensions).vectors
        if vectors.shape != (len(texts), dimensions or self.encoder.dim):
            raise ModelFailed(f"{len(texts)} texts gave vectors of shape {vectors.shape}")
        return vectors


def check(encoder: Encoder, precision: str = "fp32", last_token: bool = False, weights_sha256: str | None = None) -> Report:
    """Every check of this module on `encoder`, a few dozen short forward passes; errors of the encoder become failed checks.

    precision: of its arithmetic, for how much rounding to allow. last_token: the checkpoint pools the last token, as Qwen3 does.
    weights_sha256: of the weights file; the published numbers bind only where it is PUBLISHED_SHA256. For weights of the same shape
    that are another file (a fine-tune, a re-saved copy, random ones) they are compared and reported, but nothing fails.
    """
    subject = _Subject(encoder, precision, last_token, weights_sha256)
    return Report(tuple(_guarded(name, look, subject) for name, look in _LOOKS.items()))


def changes(base: Floats, adapted: Floats) -> Check:
    """Whether an adapter changes any vector of its base: vectors [n, dim] of probes.FEW without it and with it."""
    value = float(_cosines(base, adapted).min())
    note = "" if value < EQUAL else "the adapter has no effect on any of the texts tried; was it trained on this model?"
    return Check("changes vectors", value < EQUAL, value, f"< {EQUAL}", note)


def same_merged(adapted: Floats, merged: Floats) -> Check:
    """Whether vectors [n, dim] of probes.FEW with an adapter are those of its base with the adapter in the weights, both in fp32."""
    return _at_least("merged = unmerged", _cosines(adapted, merged), MERGED)


def compare(vectors: Floats, reference: Floats, texts: Sequence[str], precision: str = "int8") -> Comparison:
    """Unit vectors [n, dim] of two encoders of the same weights for the same `texts`; `precision` of the first sets the limit."""
    if vectors.shape != reference.shape or len(texts) < 2:
        raise InvalidInput(
            f"two encoders are compared over two texts or more, and by vectors of one width, not {vectors.shape} and {reference.shape}"
        )
    cosines = _cosines(vectors, reference)
    lowest, mean = float(cosines.min()), float(cosines.mean())
    limit = SAME_WEIGHTS.get(precision, SAME_WEIGHTS_DEFAULT)
    return Comparison(
        texts=len(texts),
        min_cosine=lowest,
        mean_cosine=mean,
        same_nearest=float((_nearest(vectors) == _nearest(reference)).mean()),
        worst=tuple((texts[i], float(cosines[i])) for i in np.argsort(cosines, kind="stable")[:5]),
        limit=limit,
        ok=mean >= limit and 1 - lowest <= 4 * (1 - limit),
    )


def _guarded(name: str, look: Callable[[str, _Subject], Check], it: _Subject) -> Check:
    try:
        check = look(name, it)
        return replace(check, value=None, note="NaN or infinite numbers") if check.value is not None and np.isnan(check.value) else check
    except HuiyiError as error:
        return Check(name, False, note=str(error))


def _unit_length(name: str, it: _Subject) -> Check:
    return _is_unit(name, it.few)


def _repeatable(name: str, it: _Subject) -> Check:
    return _at_least(name, _cosines(it.few, it.vectors(*probes.FEW)), it.close)


def _batch_is_single(name: str, it: _Subject) -> Check:
    alone = np.concatenate([it.vectors(text) for text in probes.FEW])
    return _at_least(name, _cosines(it.few, alone), it.close)


def _padding(name: str, it: _Subject) -> Check:
    """A short text beside a very long one: padding on the wrong side, or seen, shows here."""
    short = probes.FEW[0]
    return _at_least(name, _cosines(it.vectors(short, _stretched(it.encoder))[:1], it.vectors(short)), it.close)


def _first_word(name: str, it: _Subject) -> Check:
    """A causal model pooled at its first token, or texts cut at the wrong end, would see no difference here or in `_last_word`."""
    return _differ(name, it.vectors("Sunday the shop was open until nine", "nobody the shop was open until nine"))


def _last_word(name: str, it: _Subject) -> Check:
    return _differ(name, it.vectors("the shop was open until nine on Sunday", "the shop was open until nine on nobody"))


def _empty(name: str, it: _Subject) -> Check:
    return _is_unit(name, it.vectors(""))


def _one_eos(name: str, it: _Subject) -> Check:
    """A last-token model sees one token in an empty text, its EOS; with none or two of them every vector would be another."""
    if not it.last_token:
        return Check(name, None, note="skipped: this checkpoint does not pool its last token")
    tokens = int(it.encoder.embed([""]).tokens[0])
    return Check(name, tokens == 1, tokens, "= 1", "" if tokens == 1 else "the tokenizer's own post-processor has to add it, once")


def _long_text(name: str, it: _Subject) -> Check:
    return _is_unit(name, it.vectors(_stretched(it.encoder)))


def _dimensions(name: str, it: _Subject) -> Check:
    """A shorter vector is the full one, cut and only then made unit length."""
    width = it.encoder.dim // 2
    try:
        cut = it.vectors(*probes.FEW, dimensions=width)
    except InvalidInput as error:
        return Check(name, None, note=f"skipped: {error}")
    full = it.few[:, :width]
    off = float(np.abs(cut - full / np.linalg.norm(full, axis=1, keepdims=True)).max())
    return Check(name, off <= 1e-2, off, "<= 0.01")


def _published(name: str, it: _Subject) -> Check:
    """The model card's four scores and two vectors printed elsewhere; only the real weights can pass, and no machine of ours holds them."""
    if it.encoder.dim != 1024 or not it.last_token:
        return Check(name, None, note="skipped: they are of Qwen3-Embedding-0.6B, and this checkpoint has another shape")
    scores = it.encoder.embed(CARD_QUERIES, kind="query").vectors @ it.vectors(*CARD_DOCUMENTS).T
    hello, deep = it.vectors("hello world", "What is Deep Learning?")
    head = deep[: len(DEEP_LEARNING)]
    off = max(
        float(np.abs(scores - CARD_SCORES).max()),
        float(np.abs(hello[: len(HELLO_WORLD)] - HELLO_WORLD).max()),
        float(1 - head @ DEEP_LEARNING / np.linalg.norm(head) / np.linalg.norm(DEEP_LEARNING)),
    )
    limit = 0.03 if it.precision == "int8" else 0.01  # vLLM's bf16 is 0.0025 off on the card's scores
    if off <= limit:
        return Check(name, True, off, f"<= {limit}", "matches Qwen3-Embedding-0.6B as published")
    if it.weights_sha256 == PUBLISHED_SHA256:
        return Check(name, False, off, f"<= {limit}", "the weights file is the published one, and these are not its vectors")
    return Check(
        name, None, off, f"<= {limit}", "skipped: not the published weights file, but a fine-tune, a re-saved copy or random numbers"
    )


_LOOKS: dict[str, Callable[[str, _Subject], Check]] = {
    "unit length": _unit_length,
    "repeatable": _repeatable,
    "batch = single": _batch_is_single,
    "padding": _padding,
    "reads the first word": _first_word,
    "reads the last word": _last_word,
    "empty text": _empty,
    "one EOS": _one_eos,
    "long text": _long_text,
    "dimensions": _dimensions,
    "published values": _published,
}


def _stretched(encoder: Encoder) -> str:
    """A text that fills about 400 tokens, or three quarters of a smaller model's length."""
    sentence = probes.FEW[1]
    each = max(1, int(encoder.embed([sentence]).tokens[0]))
    return sentence * max(1, min(400, encoder.max_tokens * 3 // 4) // each)


def _is_unit(name: str, vectors: Floats) -> Check:
    off = float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max())
    return Check(name, off <= 1e-4, off, "<= 0.0001")


def _differ(name: str, two: Floats) -> Check:
    value = float(_cosines(two[:1], two[1:])[0])
    return Check(name, value < EQUAL, value, f"< {EQUAL}")


def _at_least(name: str, cosines: Floats, limit: float) -> Check:
    value = float(cosines.min())
    return Check(name, value >= limit, value, f">= {limit}")


def _cosines(a: Floats, b: Floats) -> Floats:
    cosines: Floats = np.einsum("nd,nd->n", a, b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosines


def _nearest(vectors: Floats) -> NDArray[np.intp]:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest: NDArray[np.intp] = scores.argmax(axis=1)
    return nearest
