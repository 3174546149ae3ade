"""PDF and DOCX as text: pages and headings are kept, pictures are not read. Needs the extra `files`.

Damaged, locked and scanned files are refused by name with the way out; nothing in a file is run or followed.
"""

import io
import logging
import re
import zipfile
from collections.abc import Iterator
from itertools import accumulate, zip_longest
from typing import Any

from huiyi.errors import InvalidInput, MissingExtra
from huiyi.sources.outline import Outline, Section, nested, sections

MAX_UNPACKED_BYTES = 1 << 30
# What the libraries raise on files that are not whole; they promise nothing narrower.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError, AssertionError, RuntimeError)
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_ENDS = "。！？；：.!?:;؟۔।”’\"')）】》…"
_LEVEL = re.compile(r"(?:heading|标题)\s*([1-9])", re.IGNORECASE)


def read_pdf(data: bytes, name: str) -> Outline:
    """Its text page by page, the lines of a paragraph joined; one section, since a PDF's headings are only larger letters."""
    try:
        import pypdf
        from pypdf.errors import DependencyError, PyPdfError
    except ImportError as error:
        raise MissingExtra("reading PDF", "files") from error
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of every small fault that it can read over
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidInput(f"{name} is locked with a password; save it without one")
        title = str((reader.metadata and reader.metadata.title) or "")
        texts = [_joined_lines(page.extract_text()) for page in reader.pages]
    except DependencyError as error:
        raise InvalidInput(f"{name} is encrypted in a way that is not read; print it into a new PDF") from error
    except (PyPdfError, *_DAMAGED) as error:
        raise InvalidInput(f"{name} is not a readable PDF ({_first_line(error)}); open it in a PDF reader and save it again") from error
    if not any(text.strip() for text in texts):
        raise InvalidInput(f"{name} holds pictures of text only; run text recognition (OCR) on it first")
    pages = [text.rstrip() + "\n\n" for text in texts]
    starts = (0, *accumulate(map(len, pages)))[:-1]
    text = _storable("".join(pages))
    return Outline(text, (Section((), 0, len(text)),), title, starts)


def _joined_lines(page: str) -> str:
    """Lines that end where the page does, not the sentence, are put together; a word that was hyphenated stays one word."""
    lines = [line.strip() for line in _storable(page).splitlines()]
    full = 0.6 * max(map(len, lines), default=0)
    text = ""
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        text += line
        if not line or not following or len(line) < full or line[-1] in _ENDS:
            text += "\n"
        elif re.search(r"[^\W\d_]-$", line) and following[:1].islower():
            text = text[:-1]
        elif not (re.search(f"[{_WIDE}]$", line) and re.match(f"[{_WIDE}]", following)):
            text += " "
    return text


def read_docx(data: bytes, name: str) -> Outline:
    """Paragraphs and tables in order, sections by the styles Heading 1 to 9 (Title as the title); rows of tables are lines."""
    try:
        import docx
    except ImportError as error:
        raise MissingExtra("reading DOCX", "files") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED_BYTES:
                raise InvalidInput(f"{name} unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB; split it")
        document = docx.Document(io.BytesIO(data))
        blocks = list(_blocks(document))
        title = document.core_properties.title or ""
    except (zipfile.BadZipFile, SyntaxError, *_DAMAGED) as error:  # lxml's errors of syntax are Python's
        raise InvalidInput(f"{name} is not a readable DOCX file ({_first_line(error)}); open it in Word and save it as .docx") from error
    text = ""
    marks: list[tuple[int, tuple[str, ...]]] = []
    open_levels: list[tuple[int, str]] = []
    parts: list[str] = []
    length = 0
    for level, block in blocks:
        if level == 0:
            title = title or block
        elif level is not None:
            heading = nested(open_levels, level, " ".join(block.split()))
            if marks and marks[-1][0] == length - len(parts[-1]) and len(heading) > len(marks[-1][1]):
                marks[-1] = (marks[-1][0], heading)  # a heading right below another one
            else:
                marks.append((length, heading))
        parts.append(block + "\n\n")
        length += len(parts[-1])
    text = "".join(parts)
    if not text.strip():
        raise InvalidInput(f"{name} holds no text")
    return Outline(text, sections(text, marks), title)


def _blocks(document: Any) -> Iterator[tuple[int | None, str]]:
    """(level of a heading, 0 for the title, None for text), in order; blank paragraphs are left out."""
    from docx.table import Table

    for block in document.iter_inner_content():
        if isinstance(block, Table):
            yield None, _storable("\n".join(_rows(block)))
        elif text := _storable(block.text).strip():
            yield _level(block), text


def _level(paragraph: Any) -> int | None:
    name = paragraph.style.name or "" if paragraph.style is not None else ""
    found = _LEVEL.match(name)
    return int(found[1]) if found else 0 if name == "Title" else None


def _rows(table: Any) -> Iterator[str]:
    for row in table.rows:
        cells: list[str] = []
        seen: set[int] = set()
        for cell in row.cells:
            if id(cell._tc) not in seen:  # a cell that spans columns comes once for each of them
                seen.add(id(cell._tc))
                cells.append(" ".join(cell.text.split()))
        yield " | ".join(cells)


def _storable(text: str) -> str:
    """Halves of surrogate pairs, which broken fonts give, become U+FFFD; zero bytes go."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
