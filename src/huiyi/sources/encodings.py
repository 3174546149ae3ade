"""Which encoding the bytes of a text file are in, told from all of them before the first row is used.

A byte-order mark decides; without one a file is UTF-8 when all of it is, else GB18030 when all of it is (Excel in Chinese writes that).
A guess is never made row by row: a file that fits nothing is refused with the place of the byte that does not fit.
"""

import codecs
import contextlib
import io
from typing import BinaryIO

from huiyi.errors import InvalidInput

CHUNK_BYTES = 1 << 20

# UTF-32 before UTF-16: its little-endian mark starts with UTF-16's.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# A Chinese character in GB18030 reads as valid UTF-8 about once in six, so this many before the first bad byte are UTF-8 that was
# damaged, and reading it as GB18030 would give nonsense without an error.
SURELY_UTF8_CHARACTERS = 16


class _Unfit(Exception):
    """byte, line: of the first byte that does not fit (0-based, 1-based). wide: characters beyond ASCII that fitted before it."""

    def __init__(self, byte: int, line: int, wide: int) -> None:
        super().__init__(byte, line, wide)
        self.byte, self.line, self.wide = byte, line, wide


def detect(file: BinaryIO, name: str, forced: str | None = None) -> str:
    """The name of the codec that decodes all of `file`: utf-8, utf-8-sig, utf-16, utf-32, gb18030, or `forced`.

    Reads the file in pieces from its start and leaves it at its start. InvalidInput when nothing fits, naming byte and line.
    """
    head = file.read(4)
    file.seek(0)
    marked = next((encoding for mark, encoding in MARKS if head.startswith(mark)), None)
    try:
        if forced is not None:
            encoding = _known(forced)
            return _require(file, name, "utf-8-sig" if (encoding, marked) == ("utf-8", "utf-8-sig") else encoding)
        if marked:
            return _require(file, name, marked)
        _refuse_binary(file, name)
        return _utf8_or_gb18030(file, name)
    finally:
        file.seek(0)


def decode(data: bytes, name: str, forced: str | None = None, declared: str | None = None) -> tuple[str, str]:
    """The encoding of `data` and its text, without a byte-order mark, line breaks as they are.

    declared: what the text says of itself, believed where the bytes are neither marked nor UTF-8 and fit it.
    """
    file = io.BytesIO(data)
    try:
        encoding = detect(file, name, forced)
    except InvalidInput:
        if declared is None or forced is not None:
            raise
        encoding = detect(file, name, declared)
    else:
        if encoding == "gb18030" and forced is None and declared is not None:
            with contextlib.suppress(InvalidInput):  # it says of itself what it is not
                encoding = detect(file, name, declared)
    return encoding, data.decode(encoding).removeprefix("\ufeff")


def _known(encoding: str) -> str:
    try:
        "".encode(encoding)  # unlike codecs.lookup, refuses codecs that are not of text, such as hex
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError) as error:
        raise InvalidInput(f"{encoding!r} is not an encoding that can be read; try utf-8, utf-16, gb18030 or big5") from error


def _utf8_or_gb18030(file: BinaryIO, name: str) -> str:
    try:
        _decode(file, "utf-8")
        return "utf-8"
    except _Unfit as unfit:
        utf8 = unfit
    way_out = "save it as UTF-8, or name its encoding with --encoding"
    if utf8.wide >= SURELY_UTF8_CHARACTERS:
        raise InvalidInput(f"{name} is UTF-8 up to byte {utf8.byte} in line {utf8.line}, which does not fit; {way_out}")
    try:
        _decode(file, "gb18030")
        return "gb18030"
    except _Unfit as gb:
        raise InvalidInput(
            f"{name} is neither UTF-8 (byte {utf8.byte} in line {utf8.line} does not fit) "
            f"nor GB18030 (byte {gb.byte} in line {gb.line}); {way_out}"
        ) from None


def _require(file: BinaryIO, name: str, encoding: str) -> str:
    try:
        _decode(file, encoding)
    except _Unfit as unfit:
        place = f"byte {unfit.byte} in line {unfit.line}"
        raise InvalidInput(f"{name} is not {encoding}: {place} does not fit; try another --encoding") from None
    return encoding


def _refuse_binary(file: BinaryIO, name: str) -> None:
    position = 0
    while chunk := file.read(CHUNK_BYTES):
        if (at := chunk.find(b"\0")) >= 0:
            raise InvalidInput(
                f"{name} is a binary file, not text (byte {position + at} is zero); "
                "if it is UTF-16 without a byte-order mark, pass --encoding utf-16-le"
            )
        position += len(chunk)
    file.seek(0)


def _decode(file: BinaryIO, encoding: str) -> None:
    """Raise _Unfit at the first byte that is not `encoding`."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    position, lines, wide = 0, 1, 0
    last = False
    while not last:
        chunk = file.read(CHUNK_BYTES)
        last = not chunk
        try:
            text = decoder.decode(chunk, last)
        except UnicodeDecodeError as error:
            fitted = error.object[: error.start].decode(error.encoding, "ignore")
            # error.object ends where the chunk ends, but may start before it (bytes kept from the last one) or after it (a mark)
            byte = position + len(chunk) - len(error.object) + error.start
            raise _Unfit(byte, lines + fitted.count("\n"), wide + _wide(fitted)) from None
        except UnicodeError:  # "UTF-16 stream does not start with BOM" names no byte
            raise _Unfit(position, lines, wide) from None
        position += len(chunk)
        lines += text.count("\n")
        wide += _wide(text)


def _wide(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))
