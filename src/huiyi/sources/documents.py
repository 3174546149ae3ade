"""Documents as text with their structure: Markdown, source code, plain text, HTML, PDF, DOCX; one file, or a folder of them in order.

A document's sections cover its text in order and without gaps. A folder is read one document at a time; what is left out is said,
never passed over in silence, and nothing outside the folder is read. It knows nothing of models, tokens or tables.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huiyi.errors import HuiyiError, InvalidInput, MissingExtra, NotFound
from huiyi.sources import code, encodings, html, markdown, office
from huiyi.sources.outline import Outline, Section

__all__ = ["Document", "Section", "Skipped", "kind_of", "read_document", "read_documents"]

Kind = Literal["markdown", "code", "text", "html", "pdf", "docx"]

MAX_BYTES = 256 << 20
_NAMES_END_IN: dict[Kind, tuple[str, ...]] = {
    "markdown": (".md", ".markdown", ".mdown", ".mkd", ".mdx", ".rmd", ".qmd"),
    "html": (".html", ".htm", ".xhtml"),
    "pdf": (".pdf",),
    "docx": (".docx",),
    "text": (".txt", ".text", ".rst", ".adoc", ".org", ".tex"),
    "code": code.SUFFIXES,
}
SUFFIXES = {suffix: kind for kind, suffixes in _NAMES_END_IN.items() for suffix in suffixes}
TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".xlsm", ".parquet"})
OLD = {".doc": ".docx or PDF", ".rtf": ".docx", ".odt": ".docx", ".ppt": "PDF", ".pptx": "PDF", ".epub": "HTML", ".wps": ".docx"}
HEAD_BYTES = 1 << 13


@dataclass(frozen=True)
class Document:
    """source: the file's name, or its path below the folder that was read, with `/` on every system. title: its own, else the file's name.

    text: what was read out of it; for markdown, code and text the file's characters as they are, line breaks included. pages, lines:
    where each begins in `text`; empty where there are none. sections: in order, without gaps; a heading is the path of titles above it.
    """

    source: str
    kind: Kind
    title: str
    text: str
    sections: tuple[Section, ...]
    pages: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()
    encoding: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was not read, and why. failed: a document that should have been readable; it may have been, earlier."""

    source: str
    reason: str
    failed: bool = False


def kind_of(path: Path) -> Kind | None:
    """What the name says: None where only the content tells whether it is text."""
    return SUFFIXES.get(path.suffix.lower())


def read_document(path: str | Path, source: str | None = None, encoding: str | None = None) -> Document:
    """The document in one file. encoding: forced on text files, else told from their bytes.

    NotFound; InvalidInput for what is no document or is damaged; MissingExtra without the extra `files` for HTML, PDF and DOCX.
    """
    path = Path(path)
    source = _portable(path.name) if source is None else source
    if path.suffix.lower() in TABLES:
        raise InvalidInput(f"{source} is a table, not a document: index it by itself, and name the column of the text")
    if path.suffix.lower() in OLD:
        raise InvalidInput(f"{source} is of a format that is not read; save it as {OLD[path.suffix.lower()]}")
    data = _bytes(path, source)
    kind = kind_of(path) or "text"
    if kind in ("pdf", "docx"):
        if encoding is not None:
            raise InvalidInput(f"an encoding was named, but {source} is a {kind} file, which has its own")
        outline = office.read_pdf(data, source) if kind == "pdf" else office.read_docx(data, source)
        return _document(source, kind, outline, None)
    found, text = encodings.decode(data, source, encoding, html.declared_encoding(data) if kind == "html" else None)
    if not text.strip():
        raise InvalidInput(f"{source} is empty")
    read: dict[Kind, Callable[[], Outline]] = {
        "markdown": lambda: markdown.outline(text),
        "code": lambda: code.outline(text, path.suffix.lower()),
        "html": lambda: html.outline(text, source),
        "text": lambda: Outline(text, (Section((), 0, len(text)),)),
    }
    return _document(source, kind, read[kind](), found)


def read_documents(place: str | Path, encoding: str | None = None) -> Iterator[Document | Skipped]:
    """The document `place`, or every document in the folder `place` and below, by path; between them what was left out and why.

    Left out of a folder are hidden files, what is no text and none of the formats, tables, links that lead out of the folder, links to
    folders, and damaged documents. Of one file that was named, the error is raised. MissingExtra is always raised.
    """
    root = Path(place)
    if not root.is_dir():
        yield read_document(root, encoding=encoding)
        return
    for path, reason in _walk(root, root.resolve()):
        source = _portable(path.relative_to(root).as_posix())
        if reason:
            yield Skipped(source, reason)
            continue
        try:
            yield read_document(path, source, encoding)
        except MissingExtra:
            raise
        except HuiyiError as error:
            yield Skipped(source, str(error).removeprefix(f"{source} "), failed=kind_of(path) is not None)


def _walk(folder: Path, root: Path) -> Iterator[tuple[Path, str]]:
    """Files by path with the reason to leave one out, else ""; a folder that is left out appears itself."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, f"cannot be read: {error.strerror or error}"
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            yield path, "hidden"
        elif entry.is_symlink() and (reason := _link_reason(path, root)):
            yield path, reason
        elif entry.is_dir():
            yield from _walk(path, root)
        elif not entry.is_file():
            yield path, "neither a file nor a folder"
        else:
            yield path, _reason(path)


def _link_reason(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "a link that leads nowhere"
    if not target.is_relative_to(root):
        return "a link that leads out of the folder"
    return "a link to a folder that is read anyway" if target.is_dir() else ""


def _reason(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return "a table: index it by itself"
    if suffix in OLD:
        return f"of a format that is not read; save it as {OLD[suffix]}"
    if kind_of(path) in ("pdf", "docx"):
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not head.strip():
        return "empty" if path.stat().st_size <= HEAD_BYTES else ""
    return "binary" if b"\0" in head and not any(head.startswith(mark) for mark, _ in encodings.MARKS) else ""


def _bytes(path: Path, source: str) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"{source} is larger than {MAX_BYTES >> 20} MB; split it")
        if not path.is_file():
            raise InvalidInput(f"{source} is not a file")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file or folder {path}") from None
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error.strerror or error}") from error


def _document(source: str, kind: Kind, outline: Outline, encoding: str | None) -> Document:
    lines = (0, *(found.end() for found in re.finditer("\r\n|\n|\r", outline.text))) if kind in ("markdown", "code", "text") else ()
    title = " ".join(outline.title.split()) or source.rpartition("/")[2]
    return Document(source, kind, title, outline.text, outline.sections, outline.pages, lines, encoding)


def _portable(name: str) -> str:
    """A name of bytes that are no UTF-8 spelled with escapes, so that it can be stored."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
