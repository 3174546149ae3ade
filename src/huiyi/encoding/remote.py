"""`RemoteEncoder`: texts through servers that hold the weights; all of `LocalEncoder` over an engine that is elsewhere.

Owns what goes over the wire (token ids of our own tokenizer where a server takes them, texts where not) and what a server must show
before it is asked: order, end-of-text token, pooling, by the vectors of the probe texts. Knows no HTTP.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from huiyi.encoding.encoder import LocalEncoder, Side, TextTokenizer
from huiyi.encoding.probes import FEW
from huiyi.encoding.scheduler import Scheduler
from huiyi.engines.remote import RemoteEngine, UpstreamStats
from huiyi.engines.upstream import Answer, Garbled, Refused, Unreachable, Upstream
from huiyi.errors import InvalidInput
from huiyi.types import Floats, Ids, Kind

__all__ = ["Characters", "Examiner", "RemoteEncoder", "RemoteTokenizer", "UpstreamStats", "alike", "least", "wire_of"]

# What other arithmetic may change: int8 by 0.005. Another pooling, a missing end-of-text token or other weights change far more.
SAME = 0.995
MAX_BATCH_TOKENS = 1024
MAX_QUEUE_TOKENS = 262_144
PROBE_S = 15.0
BUSY_ATTEMPTS = 4
TOLD_APART = (0, 5)  # two of the probe texts that are far from each other
AROUND = 2  # special tokens of a text that servers may leave out of their counts, or add
FORMS = (
    "what it makes of texts is right, of token ids not",
    "it is asked with token ids, since it puts no end-of-text token after texts, or two",
    "it puts no end-of-text token after texts; it is sent them with one",
)


class RemoteTokenizer(TextTokenizer, Protocol):
    """What this needs of a tokenizer beside what every encoder needs. recalls: whether it has to know the texts of ids."""

    recalls: bool

    def decode(self, ids: Ids) -> str: ...


class RemoteEncoder(LocalEncoder):
    """Safe to call from many threads. Its queue, limits and errors are those of `LocalEncoder`; `close` calls all of `closing`, too."""

    def __init__(self, tokenizer: RemoteTokenizer, engine: RemoteEngine, *, space: str, dimensions: Sequence[int] | None = None) -> None:
        scheduler = Scheduler(
            engine,
            max_batch_tokens=MAX_BATCH_TOKENS,
            max_padding_tokens=MAX_BATCH_TOKENS,
            max_queue_tokens=max(MAX_QUEUE_TOKENS, engine.max_tokens),
            workers=engine.workers,
        )
        super().__init__(tokenizer, engine, space=space, scheduler=scheduler, dimensions=dimensions)
        self._remote = engine
        self.closing: list[Callable[[], object]] = [engine.close]

    def upstreams(self) -> list[UpstreamStats]:
        return self._remote.stats()

    def close(self, drain: bool = True, timeout_s: float | None = None) -> None:
        super().close(drain, timeout_s)
        for close in self.closing:
            close()


class Characters:
    """In the place of a tokenizer that nobody has: texts go as they are, and tokens are counted as characters.

    prefix: before every query; an instruction needs a template, which is not known.
    """

    recalls = True
    vocab_size = 0x110000
    eos_id: int | None = None

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens

    def encode(self, texts: Sequence[str], kind: Kind = "document", instruction: str | None = None, prompt: str | None = None) -> list[Ids]:
        if instruction is not None:
            raise InvalidInput("nothing is known of this model's template for an instruction; leave it out, or write it into the text")
        for i, text in enumerate(texts):
            if not text:
                raise InvalidInput(f"text {i} is empty, and this model's server takes no empty text")
        return [np.array([*map(ord, (prompt or "") + text)], np.int32) for text in texts]

    def truncate(self, ids: Ids, side: Side = "end") -> Ids:
        return ids[: self.max_tokens] if side == "end" else ids[-self.max_tokens :]

    def decode(self, ids: Ids) -> str:
        return "".join(map(chr, ids.tolist()))


@dataclass
class Examiner:
    """Lets a server in when it gives the vectors that it should.

    end_of_text: the token that ends every text, as it is spelt. reference: of the probe texts, float32 [8, dim], known beforehand or from
    the first server that could be tried; None until then.
    """

    tokenizer: RemoteTokenizer
    end_of_text: str = ""
    reference: Floats | None = None
    say: Callable[[str], None] = field(default=lambda line: None)

    def __call__(self, upstream: Upstream) -> None:
        """Finds out what the server takes and sets it there. Raises Fault, with the reason, for one whose vectors are not those due."""
        self._examine(upstream)
        self._count(upstream)
        if not upstream.takes_ids:
            self.tokenizer.recalls = True

    def _examine(self, upstream: Upstream) -> None:
        rows = self.tokenizer.encode(FEW, prompt="")
        texts = list(FEW)
        upstream.takes_ids, upstream.ending = False, ""
        as_texts = self._embed(upstream, texts)
        self._require_order(upstream, as_texts)
        if upstream.max_inputs == 1:
            as_texts = self._embed(upstream, texts)
        if self.tokenizer.eos_id is None:
            self._settle(upstream, as_texts)
            return
        as_ids = self._tried(upstream, [row.tolist() for row in rows])
        bare = self._tried(upstream, [row.tolist()[:-1] for row in rows]) if as_ids is not None else None
        if self.reference is None:
            self._without_reference(upstream, as_texts, as_ids, bare)
            return
        if as_ids is not None and alike(as_ids, self.reference):
            upstream.takes_ids = True
            if not alike(as_texts, as_ids):
                self.say(f"{upstream.url}: {FORMS[1]}")
            return
        if alike(as_texts, self.reference):
            if as_ids is not None:
                self.say(f"{upstream.url}: {FORMS[0]}")
            return
        ending = self.end_of_text
        with_ending = self._tried(upstream, [text + ending for text in texts])
        if with_ending is not None and alike(with_ending, self.reference):
            upstream.ending = ending
            self.say(f"{upstream.url}: {FORMS[2]}")
            return
        got = as_texts if as_ids is None else as_ids
        if got.shape[1] != self.reference.shape[1]:
            raise Garbled(f"gives vectors of {got.shape[1]} numbers, and the model has {self.reference.shape[1]}: it serves another model")
        raise Garbled(
            f"gives vectors that are not those of the model (cosine {least(got, self.reference):.3f} on a probe text, "
            f"{SAME} is due): it has other weights, another pooling (the last token is due), or another end of text"
        )

    def _without_reference(self, upstream: Upstream, as_texts: Floats, as_ids: Floats | None, bare: Floats | None) -> None:
        """Texts and token ids have to agree, or to differ by the end-of-text token alone."""
        if as_ids is None or alike(as_texts, as_ids):
            upstream.takes_ids = as_ids is not None
        elif bare is not None and alike(as_texts, bare):
            upstream.takes_ids = True
            self.say(f"{upstream.url}: {FORMS[1]}")
        else:
            rows = [[*row.tolist(), row.tolist()[-1]] for row in self.tokenizer.encode(FEW, prompt="")]
            twice = self._tried(upstream, rows)
            if twice is None or not alike(as_texts, twice):
                raise Garbled(
                    f"reads texts and this model's token ids differently (cosine {least(as_texts, as_ids):.3f}): its tokenizer is another "
                    f"one; name its model or folder with --model"
                )
            upstream.takes_ids = True
            self.say(f"{upstream.url}: {FORMS[1]}")
        self.reference = as_texts if as_ids is None else as_ids

    def _count(self, upstream: Upstream) -> None:
        """Whether the tokens that it says it read are those sent, but for some that stand around every text: then a text it cut shows."""
        upstream.uncounted = None
        if self.tokenizer.eos_id is None:
            return
        texts = [FEW[i] for i in TOLD_APART]
        rows = [row.tolist() for row in self.tokenizer.encode(texts, prompt="")]
        sent = rows if upstream.takes_ids else [text + upstream.ending for text in texts]
        read = [_patient(upstream, [each]).tokens for each in sent]
        less = {len(row) - tokens for row, tokens in zip(rows, read, strict=True) if tokens is not None}
        if None not in read and len(less) == 1 and abs(of_each := less.pop()) <= AROUND:
            upstream.uncounted = of_each

    def _settle(self, upstream: Upstream, vectors: Floats) -> None:
        if self.reference is None:
            self.reference = vectors
        elif not alike(vectors, self.reference):
            raise Garbled(f"gives other vectors than the others do (cosine {least(vectors, self.reference):.3f} on a probe text)")

    def _require_order(self, upstream: Upstream, together: Floats) -> None:
        """Vectors of texts in company are those of the texts alone, at the same places; else it is asked one by one from now on."""
        alone = np.concatenate([self._embed(upstream, [FEW[i]]) for i in TOLD_APART])
        if alike(together[list(TOLD_APART)], alone):
            return
        if least(*(row[None] for row in alone)) > SAME:
            raise Garbled("gives every text the same vector")
        upstream.max_inputs = 1
        self.say(f"{upstream.url}: its lists come back in another order, or mixed; it is asked for one text at a time")

    def _tried(self, upstream: Upstream, inputs: Any) -> Floats | None:
        """None where the server does not take them."""
        try:
            return self._embed(upstream, inputs)
        except (Refused, Garbled):
            return None
        except Unreachable as error:
            if error.connected and error.after_s is None:
                return None  # servers that know no token ids fail on them with 500, too
            raise

    def _embed(self, upstream: Upstream, inputs: Any) -> Floats:
        """Unit rows. One by one where the list itself is what the server cannot do."""
        try:
            rows = _patient(upstream, inputs).rows if upstream.max_inputs != 1 or len(inputs) == 1 else None
        except (Garbled, Refused):
            if len(inputs) == 1:
                raise
            rows = None
        if rows is None:
            rows = np.concatenate([_patient(upstream, [each]).rows for each in inputs])
            if upstream.max_inputs is None:
                upstream.max_inputs = 1
                self.say(f"{upstream.url}: its answers to lists cannot be used; it is asked for one text at a time")
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and norms.all()):
            raise Garbled("gives vectors of NaN, null or zeros: half precision overflows with this model, start it in bfloat16 or float32")
        unit: Floats = rows / norms
        return unit


def _patient(upstream: Upstream, inputs: Any) -> Answer:
    """Asks again where a server is only busy."""
    for _ in range(BUSY_ATTEMPTS):
        try:
            return upstream.embed(inputs, PROBE_S)
        except Unreachable as error:
            if error.after_s is None:
                raise
            time.sleep(error.after_s)
    return upstream.embed(inputs, PROBE_S)


def wire_of(tokenizer: RemoteTokenizer) -> Callable[[Upstream, Ids], str | list[int]]:
    def wire(upstream: Upstream, ids: Ids) -> str | list[int]:
        if upstream.takes_ids:
            numbers: list[int] = ids.tolist()
            return numbers
        return tokenizer.decode(ids) + upstream.ending

    return wire


def alike(a: Floats, b: Floats) -> bool:
    return a.shape == b.shape and least(a, b) >= SAME


def least(a: Floats, b: Floats) -> float:
    return float(np.einsum("nd,nd->n", a, b).min()) if a.shape == b.shape else 0.0
