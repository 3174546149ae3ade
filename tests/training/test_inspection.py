"""What a file holds, told before it is trained on."""

import gzip

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import shared_data
from huiyi.training.data import Labelled, Pairs, Queries, ScoredPairs
from huiyi.training.inspection import SIZES, inspected, lengths_of, page_of
from huiyi.workspace.examples import read_training


def test_the_articles_lengths_get_the_articles_limit() -> None:
    assert lengths_of(range(20, 61)).max_length == 64
    assert lengths_of([*[40] * 995, *[500] * 5]).max_length == 64
    assert lengths_of([*[40] * 980, *[500] * 20]).max_length == 512
    assert lengths_of([100_000]).max_length == 32_768


@settings(max_examples=50)
@given(st.lists(st.integers(1, 3000), min_size=1))
def test_lengths_count_every_text(tokens) -> None:
    found = lengths_of(tokens)
    assert sum(found.counts) == found.n == len(tokens)
    assert found.percentiles["100"] == max(tokens)
    assert found.longer == sum(count > found.max_length for count in tokens) <= len(tokens) / 100
    assert found.max_length in SIZES
    assert list(found.percentiles.values()) == sorted(found.percentiles.values())


def test_balance_repeats_and_leaks() -> None:
    pairs = Pairs(("a", "A", "b", "c"), ("x", "x", "y", "z"), np.array([1, 1, 0, 1]), name="train.tsv")
    evaluation = Pairs(("y",), ("b!",), np.array([1]), name="dev.tsv")
    found = inspected(pairs, evaluation, lambda texts: [len(text) + 1 for text in texts])
    assert (found.kind, found.rows, found.texts, found.labels) == ("Pairs", 4, 7, {"1": 3, "0": 1})
    assert (found.duplicates, found.duplicate_lines, found.leaks, found.leak_lines) == (1, (2,), 1, (3,))
    assert (found.lengths["text"].n, found.lengths["pair"].percentiles["50"]) == (7, 4)
    table = {row[0]: row[1:] for row in found.table()}
    assert table["label 1"] == ["3", "75.0 %"]
    assert table["leaks"] == ["1", "also in dev.tsv; lines 3"]
    html = page_of(found)
    assert html.count('class="chart"') == 2
    assert "max_length 16" in html


def test_every_kind_is_told() -> None:
    scored = inspected(ScoredPairs(("a", "a"), ("b", "b"), np.array([1.0, 2.0])))
    assert (scored.scores, scored.conflict_lines) == ({"least": 1, "mean": 1.5, "greatest": 2}, ((1, 2),))
    labelled = inspected(Labelled(tuple("abcdefghijklmnopqrstuvwxyz"), tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")))
    assert ["6 more labels", "6", ""] in labelled.table()
    queries = inspected(Queries(("q",), (("p", "r"),), ((),)), None, lambda texts: [1] * len(texts))
    assert queries.lengths["pair"].n == 2


def test_afqmc_as_the_big_models_tokenizer_counts_it() -> None:
    file = gzip.decompress(shared_data("tokenizer/qwen3/tokenizer.json.gz").read_bytes())
    tokenizer = tokenizers.Tokenizer.from_str(file.decode())
    pairs = read_training(shared_data("pairs/afqmc_dev.tsv.gz"))
    found = inspected(pairs, None, lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)])
    assert found.labels == {"0": 2978, "1": 1338}
    assert found.lengths["pair"].max_length == 64
    assert found.lengths["pair"].longer < 43


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>"])
def test_the_page_runs_nothing_of_a_file(evil) -> None:
    assert evil not in page_of(inspected(Labelled(("a", "b"), (evil, "x"), name=evil)))
