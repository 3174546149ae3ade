"""Chunks cover a document in order, stay below the limit whatever the tokenizer, lead back to their place, and outlive edits elsewhere."""

import re
import unicodedata
from itertools import pairwise
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import shared_data
from huiyi.errors import InvalidInput
from huiyi.sources.chunks import Chunk, chunk
from huiyi.sources.documents import Document, Section, read_document
from huiyi.sources.sentences import pieces


def words(texts) -> list[int]:
    """A word, a number or a sign is a token, as in a tokenizer that splits before it looks up."""
    return [len(re.findall(r"[A-Za-z]+|\d|[^\sA-Za-z\d]", text)) for text in texts]


def utf8_bytes(texts) -> list[int]:
    return [len(text.encode("utf-8", "surrogatepass")) for text in texts]


def more_than_its_parts(texts) -> list[int]:
    """No real tokenizer is as bad: the whole has more tokens than its pieces together."""
    return [len(text) + len(text) // 9 for text in texts]


def less_than_its_parts(texts) -> list[int]:
    return [ceil(len(text) / 4) for text in texts]


COUNTERS = [words, utf8_bytes, more_than_its_parts, less_than_its_parts]
LANGUAGES = [
    "订单超过48小时未发货怎么办？请先在订单页面申请退款；客服会在一天内处理。",
    "He paid 3.50 EUR to Dr. Smith. Why?  No one knows!",
    "「本当ですか？」と聞いた。はい。",
    "متى يصل طلبي؟ سيصل غدًا. شكرا",
    "क्या हाल है? मैं ठीक हूँ। धन्यवाद।",
    "👩‍👩‍👧‍👦🇨🇳🇫🇷 e\u0301e\u0301 \r\n\r\n- item\r\n- item",
    "สวัสดีครับวันนี้อากาศดี",
    "   \n\n\t\u3000\n",
    "a" * 90,
    "界" * 70,
    "\ufdfa\u200d\ud83d",
]
TEXT = st.lists(st.one_of(st.sampled_from(LANGUAGES), st.text(max_size=40)), max_size=14).map(" ".join)


def document(text: str, kind: str = "text", *bounds: int) -> Document:
    places = sorted({0, len(text), *(bound for bound in bounds if bound < len(text))})
    made = tuple(Section((f"s{start}",), start, end) for start, end in pairwise(places))
    return Document("a/文件.txt", kind, "文件", text, made, lines=(0, *(found.end() for found in re.finditer("\r\n|\n|\r", text))))


def chunks(text: str, count=words, tokens: int = 40, overlap: int = 10, kind: str = "text") -> list[Chunk]:
    return list(chunk(document(text, kind), count, tokens, overlap))


@settings(max_examples=150)
@given(TEXT, st.sampled_from(COUNTERS), st.integers(32, 90), st.integers(0, 16), st.booleans(), st.lists(st.integers(0, 300), max_size=3))
def test_chunks_cover_the_text_in_order_within_the_limit(text, count, tokens, overlap, code, bounds) -> None:
    given = document(text, "code" if code else "text", *bounds)
    made = list(chunk(given, count, tokens, overlap))
    covered = 0
    for each in made:
        assert each.text == text[each.start : each.end]
        assert each.text.strip()
        assert count([each.text])[0] <= tokens
        new = each.start + each.repeats
        assert not text[covered:new].strip(), "something between two chunks is in neither"
        assert new >= covered or not text[new:covered].strip()
        assert new < each.end or each is made[-1]
        covered = each.end
    assert not text[covered:].strip()
    assert len({each.id for each in made}) == len(made)
    for each in made:  # no chunk reaches into another section
        assert any(section.start <= each.start and each.end <= section.end for section in given.sections)


@settings(max_examples=100)
@given(TEXT, st.sampled_from([words, utf8_bytes, less_than_its_parts]), st.integers(40, 90), st.integers(1, 20))
def test_the_overlap_is_the_end_of_the_chunk_before_and_as_long_as_asked(text, count, tokens, overlap) -> None:
    made = chunks(text, count, tokens, overlap)
    for before, after in pairwise(made):
        repeated = text[after.start : after.start + after.repeats]
        assert after.start >= before.start
        assert count([repeated.strip()])[0] <= overlap
    assert not made or made[0].repeats == 0


def test_an_overlap_holds_whole_sentences_where_they_fit_else_the_end_of_one() -> None:
    text = "".join(f"第{number}句话讲的是第{number}件事情。" for number in range(10, 60))
    made = chunks(text, words, 100, 40)
    assert len(made) > 5
    for each in made[1:]:
        repeated = text[each.start : each.start + each.repeats]
        assert repeated.startswith("第")
        assert repeated.endswith("。")
        assert 40 - 17 < words([repeated])[0] <= 40
    long = ("alpha beta gamma delta, epsilon zeta " * 6).strip() + ". "
    made = chunks(long * 4, words, 60, 12)
    assert all(each.repeats for each in made[1:])
    assert all(each.text.split()[0].strip(",.") in ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"] for each in made)


@settings(max_examples=150)
@given(TEXT, st.sampled_from(COUNTERS), st.integers(32, 60))
def test_no_character_is_cut_in_two(text, count, tokens) -> None:
    """Accents stay on their letters, emoji and flags whole; but for characters that have more parts than a chunk has room for."""
    for each in chunks(text, count, tokens, 8):
        if any(each.text.startswith(part) for part in ("\u200d", "\ud83d")) or len(each.text) < 12:
            continue
        if text[max(0, each.start - 1) : each.start].strip() and count([text[max(0, each.start - 12) : each.start + 12]])[0] <= tokens:
            assert unicodedata.category(each.text[0]) not in ("Mn", "Mc", "Me")


def test_emoji_flags_and_accents_stay_whole() -> None:
    for unit in ("👩‍👩‍👧‍👦", "🇨🇳", "e\u0301", "👍🏽", "क्षि"):
        text = unit * 60
        for each in chunks(text, utf8_bytes, 64, 0):
            assert each.start % len(unit) == 0, unit
            assert each.end % len(unit) == 0, unit


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("你好。在吗？快！好的；谢谢", ["你好。", "在吗？", "快！", "好的；", "谢谢"]),
        ("他说：“走吧。”然后走了。", ["他说：“走吧。”", "然后走了。"]),
        (
            "It costs 3.50. Dr. Smith paid, e.g. in cash. U.S. law? Yes!",
            ["It costs 3.50. ", "Dr. Smith paid, e.g. in cash. ", "U.S. law? ", "Yes!"],
        ),
        ("متى؟ غدا۔ نعم", ["متى؟ ", "غدا۔ ", "نعم"]),
        ("「本当？」はい。", ["「本当？」", "はい。"]),
        ("एक। दो।", ["एक। ", "दो।"]),
        ("one line\nstill the same. next", ["one line\nstill the same. ", "next"]),
        ("list:\n- a\n- b\n1. c\n二、丁", ["list:\n", "- a\n", "- b\n", "1. c\n", "二、丁"]),
        ("a\n\nb\r\n\r\n\r\nc", ["a\n\n", "b\r\n\r\n\r\n", "c"]),
        ("see www.example.com/a.html?b=1! ok", ["see www.example.com/a.html?b=1! ", "ok"]),
    ],
)
def test_sentences_of_many_languages(text, sentences) -> None:
    assert [text[piece.start : piece.end] for piece in pieces(text, 0, len(text))] == sentences


def test_chunks_end_with_paragraphs_where_they_can() -> None:
    text = "\n\n".join("句子甲。句子乙。句子丙。" * 2 for _ in range(30))
    made = chunks(text, words, 60, 0)
    assert all(each.text.endswith("句子丙。") and each.text.startswith("句子甲。") for each in made)


def test_after_an_edit_only_chunks_around_it_are_new() -> None:
    lines = [
        f"第{number}条规定：商品{number * 7 % 31}在{number * 13 % 29}天内可以退换，运费由{'买家' if number % 3 else '卖家'}承担。"
        for number in range(400)
    ]
    before = chunks("".join(lines), words, 128, 24)
    assert len(before) > 60
    for edit in (0, 5, 200, 399):
        for changed in (["新加的一句话。", lines[edit]], [], [lines[edit].replace("规定", "新规定")]):
            after = chunks("".join([*lines[:edit], *changed, *lines[edit + 1 :]]), words, 128, 24)
            assert len({each.id for each in after} - {each.id for each in before}) <= 6, (edit, changed)


def test_the_same_text_twice_has_two_ids_and_moving_keeps_them() -> None:
    text = "同样的一段。" * 20
    one, two = list(chunk(document(text + "\n\n" + text, "text", len(text) + 2), words, 200, 0))
    assert two.id == f"{one.id}-2"
    moved = next(iter(chunk(document("\n\n\n" + text), words, 200, 0)))
    assert moved.id == one.id
    assert (one.start, moved.start, one.line, moved.line) == (0, 3, 1, 4)


def test_a_chunk_leads_back_to_its_place(tmp_path: Path) -> None:
    path = tmp_path / "手册.md"
    path.write_bytes("# 退货\r\n\r\n".encode() + b"".join(f"第{n}句。\r\n".encode() for n in range(80)) + "## 运费\r\n谁出？\r\n".encode())
    made = list(chunk(read_document(path), words, 64, 8))
    text = path.read_bytes().decode()
    assert len(made) > 4
    for each in made:
        assert text[each.start : each.end] == each.text
        assert text[: each.start].count("\n") + 1 == each.line
        assert each.metadata["source"] == "手册.md"
    assert made[-1].metadata == {
        "source": "手册.md",
        "title": "退货",
        "heading": "退货 > 运费",
        "line": 83,
        "start": text.index("## 运费"),
        "end": len(text) - 2,
    }


def test_pages_are_told_by_where_a_chunk_begins() -> None:
    text = "一句话。" * 30 + "\n\n" + "二句话。" * 30
    paged = Document("a.pdf", "pdf", "a", text, (Section((), 0, len(text)),), pages=(0, 122))
    made = list(chunk(paged, words, 64, 0))
    assert {each.page for each in made} == {1, 2}
    for each in made:
        assert (each.page, each.line) == (1 if each.start < 122 else 2, None)


@pytest.mark.parametrize(("tokens", "overlap"), [(31, 0), (0, 0), (64, 33), (64, -1)])
def test_limits_that_make_no_sense_are_refused(tokens, overlap) -> None:
    with pytest.raises(InvalidInput, match=r"tokens|overlap"):
        chunks("text", words, tokens, overlap)


def test_a_long_text_is_counted_a_few_times_not_once_a_place() -> None:
    seen = 0

    def count(texts) -> list[int]:
        nonlocal seen
        seen += sum(map(len, texts))
        return words(texts)

    text = "这是一个不长不短的句子，用来数一数。" * 5000
    assert sum(1 for _ in chunk(document(text), count, 256, 32)) > 300
    assert seen < 3 * len(text)


def test_real_passages_come_out_whole() -> None:
    import gzip
    import json

    with gzip.open(shared_data("faq/drcd_dev/passages.jsonl.gz"), "rt", encoding="utf-8") as file:
        text = "\n\n".join(json.loads(line)["text"] for line, _ in zip(file, range(200), strict=False))
    made = chunks(text, words, 256, 0)
    assert "".join("".join(each.text.split()) for each in made) == "".join(text.split())
    inner = [each for each in made if each.text[-1] not in '。！？；」』）…"’”']
    assert len(inner) < len(made) / 20  # almost all chunks end where a sentence does
