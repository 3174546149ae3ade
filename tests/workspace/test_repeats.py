"""Repeats that were found, as a person works on them: another threshold without a new search, decisions that stay, exports."""

import json
from pathlib import Path

import pytest

from fake_encoder import FakeEncoder
from huiyi.errors import InvalidInput, NotFound
from huiyi.model import Model
from huiyi.workspace.duplicates import dedup_file
from huiyi.workspace.repeats import FLOOR, FOLDER, FoundRepeats, open_repeats

TEXTS = [
    "my card payment was declined", "My card payment was declined!", "my card payment was declined today", "parcel is late",
    "parcel is late", "refund of 300 yuan please", "refund of 500 yuan please", "how do I reset my password",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(TEXTS)), "utf-8")
    dedup_file(source, lambda: Model(FakeEncoder(), "fake"), pairs_folder=tmp_path / FOLDER, threshold=0.8, text="text", truncate="none")
    return tmp_path / FOLDER


@pytest.fixture
def found(folder: Path) -> FoundRepeats:
    return open_repeats(folder)


def test_groups_and_what_the_guard_holds_apart(found: FoundRepeats) -> None:
    view = found.view(found.threshold)
    assert found.threshold == 0.8
    assert view.rows == len(TEXTS)
    together = [{group.stays, *(twin.row for twin in group.twins)} for group in view.groups]
    assert {3, 4} in together
    assert any({0, 1} <= group for group in together)
    assert [{twin.row, twin.other} for twin in view.apart] == [{5, 6}]
    assert "number" in view.apart[0].remark
    assert not view.apart[0].goes
    assert view.exact + view.near + view.semantic == sum(len(group.twins) for group in view.groups) == len(view.gone)


def test_a_higher_threshold_finds_no_more(found: FoundRepeats) -> None:
    counts = [len(found.view(threshold).gone) for threshold in (FLOOR, 0.8, 0.9, 0.99)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 1
    with pytest.raises(InvalidInput, match="below"):
        found.view(FLOOR - 0.05)


def test_decisions_stay(folder: Path, found: FoundRepeats) -> None:
    found.decide([4], "stays")
    found.decide([6, 5], "goes")
    found.decide([5], None)
    view = open_repeats(folder).view(0.8)
    twins = {twin.row: twin for twins in (*(group.twins for group in view.groups), view.apart) for twin in twins}
    held = view.apart[0]
    assert 4 not in view.gone
    assert 4 not in twins or twins[4].decided
    assert (held.row in view.gone) == (held.row == 6)
    with pytest.raises(NotFound):
        found.decide([99], "goes")


def test_exports(found: FoundRepeats, tmp_path: Path) -> None:
    view = found.view(0.8)
    found.export(view, tmp_path / "kept.jsonl")
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text("utf-8").splitlines()]
    assert [int(row["id"]) for row in kept] == [row for row in range(len(TEXTS)) if row not in view.gone]
    assert found.ids(view) == tuple(str(row) for row in view.gone)
    found.export(view, tmp_path / "review.jsonl", "review")
    review = [json.loads(line) for line in (tmp_path / "review.jsonl").read_text("utf-8").splitlines()]
    assert len(review) == len(view.gone) + len(view.apart)
    assert {row["decision"] for row in review if row["remark"]} == {"stays"}


def test_repeats_that_are_gone_or_damaged_say_so(folder: Path) -> None:
    (folder / "pairs.npz").write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="damaged"):
        open_repeats(folder)
    with pytest.raises(NotFound, match="again"):
        open_repeats(folder / "elsewhere")
