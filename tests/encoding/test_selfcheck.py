"""A sound encoder passes; each way in which encoders go wrong in the wild is seen, under its own name."""

from collections.abc import Sequence

import numpy as np
import pytest

from fake_encoder import FakeEncoder
from huiyi.encoding import probes, selfcheck
from huiyi.errors import InvalidInput, ModelFailed
from huiyi.types import Embedded


class Wrapped(FakeEncoder):
    """A fake whose answers go through `spoil(texts, vectors, tokens, dimensions)`."""

    def embed(self, texts: Sequence[str], kind="document", instruction=None, dimensions=None) -> Embedded:
        sound = super().embed(texts, kind, instruction, dimensions)
        return Embedded(*self.spoil(texts, sound.vectors.copy(), sound.tokens.copy(), dimensions))

    def spoil(self, texts, vectors, tokens, dimensions):
        return vectors, tokens


class NotUnit(Wrapped):
    def spoil(self, texts, vectors, tokens, dimensions):
        return vectors * 3, tokens


class NotANumber(Wrapped):
    def spoil(self, texts, vectors, tokens, dimensions):
        vectors[-1, 0] = np.nan
        return vectors, tokens


class RowMissing(Wrapped):
    def spoil(self, texts, vectors, tokens, dimensions):
        return vectors[1:] if len(texts) > 1 else vectors, tokens


class Drifting(Wrapped):
    """Every call a little different, as with dropout left on."""

    def spoil(self, texts, vectors, tokens, dimensions):
        noise = np.random.default_rng(len(self.calls)).standard_normal(vectors.shape).astype(np.float32)
        return unit(vectors + 0.05 * noise), tokens


class SeesPadding(Wrapped):
    """A text is pooled together with the padding that its longest neighbour forces on it."""

    def spoil(self, texts, vectors, tokens, dimensions):
        return unit(vectors + 0.001 * (tokens.max() - tokens)[:, None]), tokens


class FirstToken(Wrapped):
    """A causal model pooled at the wrong end."""

    def raw(self, words):
        return super().raw(words[:1])


class LosesTheFront(Wrapped):
    def raw(self, words):
        return super().raw(words[-3:])


class TwoEos(Wrapped):
    def spoil(self, texts, vectors, tokens, dimensions):
        return vectors, tokens + 1


class CutNotNormalised(Wrapped):
    def spoil(self, texts, vectors, tokens, dimensions):
        return (super().embed(texts).vectors[:, :dimensions] if dimensions else vectors), tokens


class FailsOnEmpty(Wrapped):
    def spoil(self, texts, vectors, tokens, dimensions):
        if "" in texts:
            raise ModelFailed("zero vector")
        return vectors, tokens


class FailsOnLong(Wrapped):
    def spoil(self, texts, vectors, tokens, dimensions):
        if tokens.max() > 300:
            raise ModelFailed("out of memory")
        return vectors, tokens


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_sound_encoder_passes_every_check() -> None:
    report = selfcheck.check(FakeEncoder(), last_token=True)
    assert report.ok
    assert {c.name for c in report.checks if c.ok is None} == {"published values"}


@pytest.mark.parametrize(
    ("broken", "names"),
    [
        (NotUnit, {"unit length", "empty text", "long text"}),
        (NotANumber, {"unit length", "repeatable", "batch = single"}),
        (RowMissing, {"unit length"}),
        (Drifting, {"repeatable", "batch = single", "padding"}),
        (SeesPadding, {"batch = single", "padding"}),
        (FirstToken, {"reads the last word"}),
        (LosesTheFront, {"reads the first word"}),
        (TwoEos, {"one EOS"}),
        (CutNotNormalised, {"dimensions"}),
        (FailsOnEmpty, {"empty text", "one EOS"}),
        (FailsOnLong, {"padding", "long text"}),
    ],
)
def test_each_fault_is_seen_by_its_name(broken: type[FakeEncoder], names: set[str]) -> None:
    report = selfcheck.check(broken(), last_token=True)
    assert not report.ok
    assert names <= {c.name for c in report.failed}
    if broken not in {NotANumber, RowMissing, Drifting}:  # these spoil everything that they touch
        assert {c.name for c in report.failed} <= names | {"dimensions"}


def test_a_number_that_is_none_is_said_in_words() -> None:
    (unit_length,) = [c for c in selfcheck.check(NotANumber()).checks if c.name == "unit length"]
    assert (unit_length.ok, unit_length.value, unit_length.note) == (False, None, "NaN or infinite numbers")


def test_the_words_of_the_encoder_are_the_reason() -> None:
    (failed,) = [c for c in selfcheck.check(FailsOnEmpty()).failed if c.name == "empty text"]
    assert failed.note == "zero vector"


def test_a_model_of_another_pooling_has_no_eos_to_count() -> None:
    (eos,) = [c for c in selfcheck.check(FakeEncoder()).checks if c.name == "one EOS"]
    assert eos.ok is None
    assert "skipped" in eos.note


def test_a_checkpoint_without_shorter_vectors_is_not_at_fault() -> None:
    class OneWidth(FakeEncoder):
        def embed(self, texts, kind="document", instruction=None, dimensions=None):
            if dimensions:
                raise InvalidInput("this checkpoint has vectors of 64 numbers only")
            return super().embed(texts, kind, instruction)

    (dimensions,) = [c for c in selfcheck.check(OneWidth()).checks if c.name == "dimensions"]
    assert dimensions.ok is None
    assert "64 numbers only" in dimensions.note


class Published(FakeEncoder):
    """Gives what the model card prints, `off` beside it: no machine of ours holds the real weights."""

    def __init__(self, off: float = 0) -> None:
        super().__init__(dim=1024)
        self.off = off

    def embed(self, texts, kind="document", instruction=None, dimensions=None):
        given = super().embed(texts, kind, instruction, dimensions)
        vectors = given.vectors.copy()
        for row, text in enumerate(texts):
            numbers = np.zeros(1024)
            if text in selfcheck.CARD_DOCUMENTS:
                numbers[selfcheck.CARD_DOCUMENTS.index(text)] = 1
            elif kind == "query" and text in selfcheck.CARD_QUERIES:
                numbers[:2] = selfcheck.CARD_SCORES[selfcheck.CARD_QUERIES.index(text)]
                numbers[0] += self.off
                numbers[2] = np.sqrt(1 - (numbers**2).sum())
            elif text == "hello world":
                numbers[:5] = selfcheck.HELLO_WORLD
                numbers[5] = np.sqrt(1 - (numbers**2).sum())
            elif text == "What is Deep Learning?":
                numbers[:10] = selfcheck.DEEP_LEARNING
                numbers /= np.linalg.norm(numbers)
            else:
                continue
            vectors[row] = numbers[:dimensions]
        return Embedded(vectors, given.tokens)


def published(encoder: FakeEncoder, sha256: str | None) -> selfcheck.Check:
    (found,) = [c for c in selfcheck.check(encoder, last_token=True, weights_sha256=sha256).checks if c.name == "published values"]
    return found


def test_the_published_numbers_are_recognised_whatever_the_file() -> None:
    for sha256 in (selfcheck.PUBLISHED_SHA256, "a re-saved copy", None):
        found = published(Published(), sha256)
        assert found.ok
        assert found.value is not None
        assert found.value < 1e-6


def test_only_the_published_file_must_give_the_published_numbers() -> None:
    assert published(Published(off=0.05), selfcheck.PUBLISHED_SHA256).ok is False
    tuned = published(Published(off=0.05), "a fine-tune")
    assert tuned.ok is None
    assert "not the published weights" in tuned.note
    assert published(FakeEncoder(dim=1024), None).ok is None


class Rounded(FakeEncoder):
    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise

    def raw(self, words):
        sound = super().raw(words)
        return sound + self.noise * np.linalg.norm(sound) / 8 * np.random.default_rng(len(words)).standard_normal(self.dim)


def compared(encoder: FakeEncoder) -> selfcheck.Comparison:
    vectors, reference = (each.embed(probes.TEXTS).vectors for each in (encoder, FakeEncoder()))
    return selfcheck.compare(vectors, reference, probes.TEXTS)


def test_two_encoders_of_the_same_weights_are_compared_text_by_text() -> None:
    same, near, far = compared(FakeEncoder()), compared(Rounded(0.03)), compared(Rounded(0.3))
    assert (same.ok, near.ok, far.ok) == (True, True, False)
    assert (same.texts, same.same_nearest) == (200, 1.0)
    assert far.min_cosine < near.min_cosine < same.min_cosine == pytest.approx(1)
    assert far.same_nearest < 1
    assert far.min_cosine == far.worst[0][1] <= far.worst[1][1]
    assert far.worst[0][0] in probes.TEXTS


def test_one_text_far_off_is_enough() -> None:
    vectors = FakeEncoder().embed(probes.TEXTS).vectors
    off = vectors.copy()
    off[7:8] = unit(vectors[7:8] + 0.5 * vectors[8:9])
    compared = selfcheck.compare(off, vectors, probes.TEXTS)
    assert compared.mean_cosine > compared.limit
    assert not compared.ok
    assert compared.worst[0][0] == probes.TEXTS[7]


@pytest.mark.parametrize(("ours", "theirs", "texts"), [((2, 8), (2, 4), 2), ((2, 8), (3, 8), 2), ((1, 8), (1, 8), 1)])
def test_what_cannot_be_compared_is_refused(ours: tuple[int, int], theirs: tuple[int, int], texts: int) -> None:
    with pytest.raises(InvalidInput):
        selfcheck.compare(np.ones(ours, np.float32), np.ones(theirs, np.float32), ["text"] * texts)


def test_the_probe_texts_are_two_hundred_different_ones() -> None:
    assert len(set(probes.TEXTS)) == len(probes.TEXTS) == 200
    assert set(probes.FEW) <= set(probes.TEXTS)
