"""A file's encoding is told from all of its bytes, and a byte that does not fit is named by its place."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.errors import InvalidInput
from huiyi.sources import encodings

CHINESE = "商品什么时候发货？\n我想改收货地址。\n"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=200)


def detect(data: bytes, forced: str | None = None) -> str:
    return encodings.detect(io.BytesIO(data), "a.txt", forced)


@pytest.fixture(params=[1, 3, 7, 1 << 20])
def chunk_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that every character lies across two of them."""
    monkeypatch.setattr(encodings, "CHUNK_BYTES", request.param)


@pytest.mark.usefixtures("chunk_bytes")
@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"", "utf-8"),
        (b"plain", "utf-8"),
        (CHINESE.encode(), "utf-8"),
        (CHINESE.encode("utf-8-sig"), "utf-8-sig"),
        (CHINESE.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + CHINESE.encode("utf-16-be"), "utf-16"),
        (CHINESE.encode("utf-32"), "utf-32"),
        (CHINESE.encode("gb18030"), "gb18030"),
        ("退款 €5 😀 𠮷".encode("gb18030"), "gb18030"),
        (b"order,1\n" * 500 + "退款".encode("gb18030"), "gb18030"),
    ],
)
def test_the_encodings_that_chinese_teams_have_are_told_apart(data, encoding) -> None:
    assert detect(data) == encoding


@given(TEXT)
def test_text_comes_back_whatever_it_holds(text) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        data = text.encode(encoding)
        assert data.decode(detect(data)) == text
    data = text.encode("gb18030")
    assert data.decode(detect(data, forced="gb18030")) == text


@given(TEXT, st.integers(1, 9))
def test_the_place_of_the_first_bad_byte_is_exact(text, chunk) -> None:
    before = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "CHUNK_BYTES", chunk)
        with pytest.raises(InvalidInput) as refused:
            detect(before + b"\xff rest", forced="utf-8")
    line = text.count("\n") + 1
    assert str(refused.value).startswith(f"a.txt is not utf-8: byte {len(before)} in line {line} does not fit")


def test_the_place_counts_a_byte_order_mark() -> None:
    with pytest.raises(InvalidInput, match=r"a.txt is not utf-8-sig: byte 5 in line 2 does not fit"):
        detect(b"\xef\xbb\xbfa\n\xff")
    with pytest.raises(InvalidInput, match=r"is not utf-16: byte 4 in line 1"):
        detect(b"\xff\xfea\0\x00\xdcb\0")


def test_damaged_utf8_is_not_read_as_gb18030_nonsense() -> None:
    good = "我的订单在哪里" * 4
    data = good.encode() + "坏".encode()[:2] + b"abc"
    assert data.decode("gb18030", "strict")  # what a program that only tries would take it for
    with pytest.raises(InvalidInput, match=f"is UTF-8 up to byte {len(good.encode())} in line 1.*--encoding"):
        detect(data)
    assert detect(data, forced="gb18030") == "gb18030"


def test_bytes_of_no_encoding_are_refused_with_both_places() -> None:
    with pytest.raises(InvalidInput, match=r"neither UTF-8 \(byte 3 in line 2.*nor GB18030 \(byte 3 in line 2\).*--encoding"):
        detect(b"ok\n\xff\xff\n")


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04\x00\x00", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"text" * 1000 + b"\0", "no mark".encode("utf-16-le")]
)
def test_a_binary_file_is_called_one(data) -> None:
    with pytest.raises(InvalidInput, match=r"a.txt is a binary file, not text"):
        detect(data)


def test_an_encoding_can_be_forced() -> None:
    assert detect("退貨".encode("big5"), forced="Big5") == "big5"
    assert detect("no mark".encode("utf-16-le"), forced="utf-16-le") == "utf-16-le"
    assert detect(CHINESE.encode("utf-8-sig"), forced="UTF-8") == "utf-8-sig"  # the mark is no part of the text
    for name in ("nonsense", "hex", "rot13"):
        with pytest.raises(InvalidInput, match=r"is not an encoding that can be read"):
            detect(b"abc", forced=name)
