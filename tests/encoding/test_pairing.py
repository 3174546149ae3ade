"""Two texts as one input: the ids are those of transformers' tokenizers, cut or whole."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AutoTokenizer

import tiny
from huiyi.encoding.pairing import PairTemplate, bare, lengths, template_of
from huiyi.encoding.tokenizer import Tokenizer
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.errors import InvalidInput, UnsupportedModel

PAIRS = [
    ("包裹什么时候到？", "什么时候能收到包裹"),
    ("How do I return a jacket that is too small? The zip is broken as well.", "退"),
    ("退", "How do I return a jacket that is too small? The zip is broken as well."),
    ("Please reset my password, the link does not open.", "We could not find the invoice; ask the shop again."),
]


def tokenizer_of(folder: Path) -> Tokenizer:
    found = open_checkpoint(folder)
    return Tokenizer(
        found.path,
        family=found.family,
        max_tokens=found.max_tokens,
        vocab_size=found.config.vocab_size,
        prompts=found.prompts,
        pooling=found.pooling,
    )


def with_published_pair_template(folder: Path) -> Path:
    """The tiny tokenizer knows single texts alone; the published one ends each text of a pair with the end-of-text token."""
    import tokenizers

    file = folder / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    end = "<|endoftext|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    tokenizer.save(str(file))
    return folder


@pytest.mark.parametrize("room", [9, 10, 15, 24, 200])
@pytest.mark.parametrize("family", ["qwen3", "roberta"])
def test_the_ids_of_a_pair_are_those_of_transformers(family: str, room: int, tmp_path: Path) -> None:
    if family == "qwen3":
        folder = with_published_pair_template(tiny.tiny_qwen3(tmp_path / "m", positions=256))
    else:
        folder = tiny.tiny_roberta(tmp_path / "m", positions=256)
    ours, theirs = tokenizer_of(folder), AutoTokenizer.from_pretrained(folder)
    template = template_of(ours, doubled=family == "roberta")
    for first, second in PAIRS:
        a, b = bare(ours, [first, second])
        expected = theirs(first, second, truncation=True, max_length=room)["input_ids"]
        assert template.join(a, b, room).tolist() == expected


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 80))
def test_what_is_kept_fills_the_room_and_favours_nobody(first: int, second: int, room: int) -> None:
    a, b = lengths(first, second, room)
    assert a + b == min(first + second, room)
    assert a <= first
    assert b <= second
    if a < first and b < second:
        assert abs(a - b) <= 1
    elif a < first:
        assert a >= b or first + second <= room
    elif b < second:
        assert b >= a


def test_token_types_mark_the_second_text() -> None:
    template = PairTemplate((1,), (2,), (2,), token_types=True)
    ids = template.join(np.array([7, 8], np.int32), np.array([9], np.int32), 10)
    assert ids.tolist() == [1, 7, 8, 2, 9, 2]
    assert template.types(2, len(ids)).tolist() == [0, 0, 0, 0, 1, 1]


def test_a_template_comes_back_from_json_and_a_damaged_one_is_refused() -> None:
    template = PairTemplate((), (3,), (3,))
    assert PairTemplate.from_json(template.to_json(), "huiyi.json") == template
    with pytest.raises(UnsupportedModel, match="no template"):
        PairTemplate.from_json({"before": []}, "huiyi.json")


def test_a_length_without_room_for_two_texts_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no room"):
        lengths(3, 3, 1)
