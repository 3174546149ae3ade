"""Text to ids: the same ids as transformers, the query template to the letter, one EOS, cuts that keep the ends."""

import gzip
import json
import shutil
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import minilm_folder, shared_data
from huiyi.encoding.tokenizer import MAX_CHARACTERS, Tokenizer
from huiyi.errors import InvalidInput, TooLong, UnsupportedModel
from tiny import QUERY_PROMPT, SENTENCES, rewrite_json, tiny_bert, tiny_qwen3, tiny_roberta, tiny_xlm_roberta

BUILDERS: dict[str, Callable[..., Path]] = {
    "qwen3": tiny_qwen3,
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "xlm-roberta": tiny_xlm_roberta,
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(SENTENCES)
ODD_TEXTS = (
    "",
    " ",
    "  two  blanks \n\n and lines\t",
    "İSTANBUL ﬁne ＡＢＣ é e\u0301 ß",
    "😀👍🏽👩‍👩‍👧 1234567 ½",
    "<|endoftext|> [SEP] </s> <pad> <mask>",
    "مرحبا שלום नमस्ते ภาษาไทย",
    "\u0000\u200b\ufeff\u00ad",
    "x" * 300,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: build(tmp_path_factory.mktemp("tiny") / name) for name, build in BUILDERS.items()}


@pytest.fixture(scope="module")
def qwen3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the real Qwen3 models."""
    folder = tmp_path_factory.mktemp("real") / "qwen3"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(gzip.decompress(shared_data("tokenizer/qwen3/tokenizer.json.gz").read_bytes()))
    shutil.copy(shared_data("tokenizer/qwen3/tokenizer_config.json"), folder)
    return folder


def open_tokenizer(folder: Path, **options: Any) -> Tokenizer:
    """As a checkpoint in this folder would have it."""
    config = json.loads((folder / "config.json").read_text()) if (folder / "config.json").is_file() else {"model_type": "qwen3"}
    family = "qwen3" if config["model_type"] == "qwen3" else "bert"
    settings_ = {
        "family": family,
        "max_tokens": 128,
        "vocab_size": config.get("vocab_size", 151669),
        "prompts": {},
        "pooling": "last" if family == "qwen3" else "mean",
    }
    return Tokenizer(folder, **settings_ | options)


@cache
def both(folder: Path) -> tuple[Tokenizer, Any]:
    from transformers import AutoTokenizer

    return open_tokenizer(folder), AutoTokenizer.from_pretrained(folder)


def assert_same_ids(folder: Path, text: str) -> None:
    ours, theirs = both(folder)
    (ids,) = ours.encode([text])
    assert ids.dtype == np.int32
    assert ids.tolist() == theirs(text, truncation=False).input_ids


# The same ids as transformers


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("text", [*ODD_TEXTS, *SENTENCES])
def test_ids_are_those_of_transformers(name: str, text: str, folders: dict[str, Path]) -> None:
    assert_same_ids(folders[name], text)


@settings(max_examples=300)
@given(text=TEXTS, name=st.sampled_from(sorted(BUILDERS)))
def test_ids_of_any_text_are_those_of_transformers(text: str, name: str, folders: dict[str, Path]) -> None:
    assert_same_ids(folders[name], text)


@settings(max_examples=200)
@given(text=TEXTS | st.sampled_from(ODD_TEXTS))
def test_ids_of_real_minilm_are_those_of_transformers(text: str) -> None:
    """Its tokenizer.json pads every text to 128 tokens and cuts it there: neither must happen."""
    assert_same_ids(minilm_folder(), text)
    assert_same_ids(minilm_folder(), text * 40)


@settings(max_examples=200)
@given(text=TEXTS | st.sampled_from(ODD_TEXTS))
def test_ids_of_the_real_qwen3_are_those_of_transformers(text: str, qwen3_folder: Path) -> None:
    assert_same_ids(qwen3_folder, text)


def test_published_ids_of_the_real_qwen3(qwen3_folder: Path) -> None:
    tokenizer = open_tokenizer(qwen3_folder)
    assert [ids.tolist() for ids in tokenizer.encode(["hello world", "test again", "你好", ""])] == [
        [14990, 1879, 151643],
        [1944, 1549, 151643],
        [108386, 151643],
        [151643],
    ]
    assert tokenizer.eos_id == 151643


# Queries, documents, prompts


def test_a_query_of_qwen3_gets_the_task_and_a_document_nothing(folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders["qwen3"])
    text = "Where is my parcel?"
    task = "Given a web search query, retrieve relevant passages that answer the query"
    assert _raw(tokenizer, text, kind="query") == _raw(tokenizer, f"Instruct: {task}\nQuery:{text}")
    assert _raw(tokenizer, text, kind="query", instruction="查找相关的工单") == _raw(tokenizer, f"Instruct: 查找相关的工单\nQuery:{text}")
    assert _raw(tokenizer, text, kind="query") == _raw(
        open_tokenizer(folders["qwen3"], prompts={"query": QUERY_PROMPT}), text, kind="query"
    )


@pytest.mark.parametrize(
    ("prompts", "query", "document"),
    [
        ({}, "", ""),
        ({"query": "query: ", "passage": "passage: "}, "query: ", "passage: "),
        ({"query": "find: ", "document": "", "passage": "passage: "}, "find: ", ""),
        ({"query": "", "corpus": "text: "}, "", "text: "),
    ],
)
def test_the_prompts_of_the_folder(prompts: Mapping[str, str], query: str, document: str, folders: dict[str, Path]) -> None:
    plain = open_tokenizer(folders["roberta"])
    tokenizer = open_tokenizer(folders["roberta"], prompts=prompts)
    assert _raw(tokenizer, "a jacket", kind="query") == _raw(plain, query + "a jacket")
    assert _raw(tokenizer, "a jacket", kind="document") == _raw(plain, document + "a jacket")
    assert _raw(tokenizer, "a jacket", kind="query", prompt="as it is: ") == _raw(plain, "as it is: a jacket")
    assert _raw(tokenizer, "a jacket", kind="query", prompt="") == _raw(plain, "a jacket")


def test_the_folders_own_query_prompt_replaces_the_default_task(folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders["qwen3"], prompts={"query": "Instruct: Find the invoice\nQuery:"})
    assert _raw(tokenizer, "20417", kind="query") == _raw(tokenizer, "Instruct: Find the invoice\nQuery:20417")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("bert", {"kind": "query", "instruction": "Find"}, "no template"),
        ("qwen3", {"kind": "document", "instruction": "Find"}, "belongs to queries"),
        ("qwen3", {"kind": "query", "instruction": "Find", "prompt": "Find: "}, "not both"),
        ("qwen3", {"kind": "query", "instruction": "Find \ud800"}, "instruction or prompt is not valid Unicode"),
        ("qwen3", {"prompt": 3}, "prompt is a int"),
        ("qwen3", {"kind": "passage"}, "document or query"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, options: dict[str, Any], words: str, folders: dict[str, Path]) -> None:
    with pytest.raises(InvalidInput, match=words):
        open_tokenizer(folders[name]).encode(["a jacket"], **options)


# Exactly one end


def test_end_of_text_is_appended_where_the_folder_forgot_it(folders: dict[str, Path], tmp_path: Path) -> None:
    with_eos, without = open_tokenizer(folders["qwen3"]), open_tokenizer(tiny_qwen3(tmp_path / "model", append_eos=False))
    for text in [*ODD_TEXTS, *SENTENCES]:
        assert without.encode([text])[0].tolist() == with_eos.encode([text])[0].tolist()
    assert without.eos_id == with_eos.eos_id


def test_another_end_than_ours_stays_the_only_one(tmp_path: Path) -> None:
    folder = tiny_qwen3(tmp_path / "model", append_eos=False)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id("<|im_end|>")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="$A <|im_end|>", special_tokens=[("<|im_end|>", end)])
    tokenizer.save(str(folder / "tokenizer.json"))
    assert open_tokenizer(folder).encode([""])[0].tolist() == [end]


def test_mean_pooling_needs_no_end(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(tiny_qwen3(tmp_path / "model", append_eos=False), pooling="mean")
    assert tokenizer.eos_id is None
    assert 0 not in tokenizer.encode(["a jacket"])[0]
    with pytest.raises(InvalidInput, match="no special token"):
        tokenizer.encode(["", "a jacket"])


@pytest.mark.parametrize(("name", "empty"), [("qwen3", [0]), ("bert", [2, 3]), ("roberta", [0, 2]), ("xlm-roberta", [0, 2])])
def test_an_empty_text_is_its_special_tokens(name: str, empty: list[int], folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders[name])
    assert tokenizer.encode([""])[0].tolist() == empty
    assert tokenizer.eos_id == empty[-1]


# Laws


@settings(max_examples=100)
@given(texts=st.lists(TEXTS, max_size=6), name=st.sampled_from(sorted(BUILDERS)), kind=st.sampled_from(["document", "query"]))
def test_a_list_is_encoded_as_its_texts_alone(
    texts: list[str], name: str, kind: Literal["document", "query"], folders: dict[str, Path]
) -> None:
    tokenizer = both(folders[name])[0]
    together = tokenizer.encode(texts, kind)
    assert [ids.tolist() for ids in together] == [tokenizer.encode([text], kind)[0].tolist() for text in texts]


@settings(max_examples=200)
@given(
    text=TEXTS,
    times=st.integers(1, 4),
    name=st.sampled_from(sorted(BUILDERS)),
    limit=st.integers(3, 40),
    side=st.sampled_from(["start", "end"]),
)
def test_a_cut_keeps_the_ends_and_is_never_longer_than_the_limit(
    text: str, times: int, name: str, limit: int, side: Literal["start", "end"], folders: dict[str, Path]
) -> None:
    tokenizer = both(folders[name])[0]
    head, tail = (0, 1) if name == "qwen3" else (1, 1)
    tokenizer.max_tokens = limit
    (ids,) = tokenizer.encode([text * times])
    cut = tokenizer.truncate(ids, side)
    assert len(cut) == min(len(ids), limit)
    assert cut.dtype == np.int32
    assert cut[:head].tolist() == ids[:head].tolist()
    assert cut[len(cut) - tail :].tolist() == ids[len(ids) - tail :].tolist()
    body, whole = cut[head : len(cut) - tail].tolist(), ids[head : len(ids) - tail].tolist()
    assert body == (whole[: len(body)] if side == "end" else whole[len(whole) - len(body) :])
    assert tokenizer.truncate(cut, side).tolist() == cut.tolist()


@pytest.mark.parametrize("name", BUILDERS)
def test_a_cut_is_that_of_transformers(name: str, folders: dict[str, Path]) -> None:
    tokenizer, theirs = both(folders[name])
    tokenizer.max_tokens = 9
    for text in SENTENCES:
        assert tokenizer.truncate(tokenizer.encode([text])[0]).tolist() == theirs(text, truncation=True, max_length=9).input_ids


# Settings that lie beside tokenizer.json


def test_a_stored_length_and_padding_are_not_obeyed(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["bert"], tmp_path / "bert")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=20)
    tokenizer.save(str(folder / "tokenizer.json"))
    expected = open_tokenizer(folders["bert"]).encode(SENTENCES)
    for ours, theirs in zip(open_tokenizer(folder).encode(SENTENCES), expected, strict=True):
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("fields", [{"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}])
def test_berts_normaliser_follows_tokenizer_config(fields: dict[str, bool], folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["bert"], tmp_path / "bert")
    rewrite_json(folder / "tokenizer_config.json", **fields)
    changed = False
    for text in [*ODD_TEXTS, *SENTENCES]:
        assert_same_ids(folder, text)
        changed = changed or both(folder)[0].encode([text])[0].tolist() != both(folders["bert"])[0].encode([text])[0].tolist()
    assert changed


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_sentence_transformers_own_lower_case(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[name], tmp_path / name)
    rewrite_json(folder / "sentence_bert_config.json", do_lower_case=True)
    tokenizer = open_tokenizer(folder)
    assert _raw(tokenizer, "RETURN the Jacket") == _raw(tokenizer, "return the jacket")


def test_vocab_txt_alone_is_enough_for_bert(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["bert"], tmp_path / "bert")
    vocabulary = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=lambda word: vocabulary[word])), "utf-8")
    for text in [*ODD_TEXTS, *SENTENCES]:
        assert_same_ids(folder, text)
    (folder / "vocab.txt").write_text("one\ntwo\n")
    with pytest.raises(UnsupportedModel, match=r"\[CLS\]"):
        open_tokenizer(folder)


# What is refused


def test_a_missing_tokenizer_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"no tokenizer\.json.*save_pretrained"):
        open_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "BPE", "vocab": {}, "merges": []}}'])
def test_a_broken_tokenizer_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json"):
        open_tokenizer(tmp_path)


def test_a_tokenizer_of_another_model_is_refused_with_both_numbers(folders: dict[str, Path]) -> None:
    with pytest.raises(UnsupportedModel, match=r"does not fit the weights.*500.*499"):
        open_tokenizer(folders["qwen3"], vocab_size=499)
    with pytest.raises(UnsupportedModel, match=r"does not fit the weights.*30,522.*21,128"):
        open_tokenizer(minilm_folder(), vocab_size=21128)


def test_added_tokens_beyond_the_weights_are_refused_only_in_the_text_that_holds_one(qwen3_folder: Path) -> None:
    """The larger Qwen3 embedding models have 151,665 rows, their tokenizers may know four words more."""
    tokenizer = open_tokenizer(qwen3_folder, vocab_size=151665)
    assert tokenizer.encode(["think"])[0].max() < 151665
    with pytest.raises(InvalidInput, match=r"texts\[1\].*<think>"):
        tokenizer.encode(["think", "a <think> b"])


def test_no_room_for_text(folders: dict[str, Path]) -> None:
    with pytest.raises(InvalidInput, match="leaves no room"):
        open_tokenizer(folders["bert"], max_tokens=2)


def test_half_a_surrogate_pair_is_refused_with_its_place(folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders["qwen3"])
    with pytest.raises(InvalidInput, match=r"texts\[1\].*character 3"):
        tokenizer.encode(["good", "bad\ud83d"])
    with pytest.raises(InvalidInput, match=r"^the text .*character 0"):
        tokenizer.encode(["\udc00"])


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a", "b"], float("nan")])
def test_what_is_not_text_is_refused_with_its_kind(value: Any, folders: dict[str, Path]) -> None:
    with pytest.raises(InvalidInput, match=rf"texts\[1\] is a {type(value).__name__}"):
        open_tokenizer(folders["qwen3"]).encode(["good", value])


@pytest.mark.parametrize("character", ["a", " ", "1", "错"])
def test_ten_megabytes_are_refused_at_once(character: str, folders: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(folders["qwen3"])
    start = time.monotonic()
    with pytest.raises(TooLong, match=r"10,000,000 characters.*1,000,000"):
        tokenizer.encode([character * 10_000_000])
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("character", ["a", " ", "1", "é "])
def test_the_longest_text_that_is_read_takes_seconds(character: str, folders: dict[str, Path]) -> None:
    text = (character * MAX_CHARACTERS)[:MAX_CHARACTERS]
    for name in ("qwen3", "bert"):
        tokenizer = open_tokenizer(folders[name])
        start = time.process_time()
        (ids,) = tokenizer.encode([text])
        assert time.process_time() - start < 15
        assert len(tokenizer.truncate(ids)) <= 128


def _raw(tokenizer: Tokenizer, text: str, **options: Any) -> list[int]:
    return tokenizer.encode([text], **options)[0].tolist()
