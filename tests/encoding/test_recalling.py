"""Ids and the texts they were made of: what a server that takes texts only is sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.encoding import recalling
from huiyi.encoding.probes import TEXTS
from huiyi.encoding.recalling import RecallingTokenizer
from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.hub import locate
from huiyi.errors import InvalidInput
from huiyi.workspace.adapters import tokenizer_of

CHECKPOINT = open_checkpoint(locate("starter"), weights=False).up_to(40)
OWN = tokenizer_of(CHECKPOINT)


def recalls() -> RecallingTokenizer:
    made = RecallingTokenizer(OWN)
    made.recalls = True
    return made


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=6), st.sampled_from(["document", "query"])
)
def test_the_text_of_ids_reads_as_these_ids(texts: list[str], kind: str) -> None:
    tokenizer = recalls()
    for row in tokenizer.encode(texts, kind):  # type: ignore[arg-type]
        assert OWN.encode([tokenizer.decode(row)], prompt="")[0].tolist() == row.tolist()


@pytest.mark.parametrize("side", ["start", "end"])
def test_of_a_long_text_the_part_that_is_read_is_sent(side: str) -> None:
    tokenizer, text = recalls(), " ".join(f"word{number} 包裹" for number in range(200))
    (row,) = tokenizer.encode([text])
    cut = tokenizer.truncate(row, side)  # type: ignore[arg-type]
    sent = tokenizer.decode(cut)
    assert text.startswith(sent) if side == "end" else text.endswith(sent)
    assert tokenizer.max_tokens - 8 < len(OWN.encode([sent], prompt="")[0]) <= tokenizer.max_tokens


def test_ids_without_a_text_are_decoded_or_refused() -> None:
    tokenizer = recalls()
    (row,) = OWN.encode(["hello"])
    assert tokenizer.decode(row) == "hello"
    lossy = [row for row in OWN.encode(TEXTS) if not np.array_equal(OWN.encode([OWN.decode(row)])[0], row)]
    assert lossy, "this tokenizer keeps all that it reads: take another one here"
    with pytest.raises(InvalidInput, match="send the text"):
        tokenizer.decode(lossy[0])


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalling, "MAX_CHARACTERS", 2000)
    tokenizer = recalls()
    rows = [tokenizer.encode([f"The parcel number {number}"])[0] for number in range(50)]
    assert tokenizer.decode(rows[-1]) == "The parcel number 49"
    assert len(tokenizer._texts) < 12
    assert np.issubdtype(rows[0].dtype, np.int32)
