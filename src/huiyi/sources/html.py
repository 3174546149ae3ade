"""HTML as the text that a reader sees, split at its headings. Needs the extra `files`.

What is no text (scripts, styles, navigation, hidden parts) is left out; blocks are paragraphs, rows of tables are lines.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Any

from huiyi.errors import InvalidInput, MissingExtra
from huiyi.sources.outline import Outline, nested, sections

_UNSEEN = ("script", "style", "template", "noscript", "nav", "svg", "canvas", "iframe", "object", "select", "button", "head")
_PARAGRAPH = re.compile(
    "p|div|section|article|main|header|footer|aside|blockquote|pre|ul|ol|dl|table|figure|form|fieldset|details|address|hr|h[1-6]"
)
_LINE = re.compile("br|li|tr|dt|dd|caption|figcaption|legend|summary|option")
_HEADING = re.compile("h[1-6]")
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_HEAD_BYTES = 4096
_LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252", "shift_jis": "cp932", "euc_kr": "cp949"}


def declared_encoding(data: bytes) -> str | None:
    """What a <meta> at the start names, as browsers take it: the larger encoding of its family."""
    found = _CHARSET.search(data, 0, _HEAD_BYTES)
    if not found:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii")).name
    except LookupError:
        return None
    return _LARGER.get(name, name)


def outline(text: str, name: str) -> Outline:
    try:
        from bs4 import BeautifulSoup
    except ImportError as error:
        raise MissingExtra("reading HTML", "files") from error
    soup = BeautifulSoup(text, "html.parser")
    title = soup.title.get_text() if soup.title else ""
    for tag in soup(_UNSEEN):
        tag.decompose()
    for tag in soup(lambda found: found.has_attr("hidden") or found.get("aria-hidden") == "true"):
        tag.decompose()
    writer = _Writer()
    for what, element in _walk(soup.find("main") or soup.body or soup):
        if what == "text":
            writer.text(str(element), keep_blanks=element.find_parent("pre") is not None)
        else:
            writer.tag(element.name, what == "open")
    body = "".join(writer.parts)
    if not body.strip():
        raise InvalidInput(f"{name} holds no text: what it shows may be made by a script; save the page as the browser shows it")
    return Outline(body, sections(body, writer.marks), title or next((path[0] for _, path in writer.marks if path), ""))


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    """open, text and close in the order of the page; a loop, because pages nest deeper than Python calls."""
    from bs4.element import CData, NavigableString, Tag

    open_tags = [(root, iter(root.contents))]
    while open_tags:
        tag, rest = open_tags[-1]
        element = next(rest, None)
        if element is None:
            open_tags.pop()
            yield "close", tag
        elif isinstance(element, Tag):
            yield "open", element
            open_tags.append((element, iter(element.contents)))
        elif type(element) in (NavigableString, CData):  # not comments and declarations, which are subclasses
            yield "text", element


class _Writer:
    """Text as it grows, and where its headings are."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.marks: list[tuple[int, tuple[str, ...]]] = []
        self._length = 0
        self._gap = ""  # what stands before the next word: nothing at the very start
        self._levels: list[tuple[int, str]] = []
        self._heading: list[str] | None = None

    def text(self, text: str, keep_blanks: bool) -> None:
        words = text if keep_blanks else " ".join(text.split())
        if text[:1].isspace() and not keep_blanks:
            self._widen(" ")
        if words.strip():
            self._put(words)
            if text[-1:].isspace() and not keep_blanks:
                self._widen(" ")

    def tag(self, name: str, opens: bool) -> None:
        if _PARAGRAPH.fullmatch(name):
            self._widen("\n\n")
        elif _LINE.fullmatch(name):
            self._widen("\n")
        elif name in ("td", "th") and not opens:
            self._widen(" | ")
        if _HEADING.fullmatch(name):
            if opens:
                self._heading = []
            elif self._heading is not None:
                title = " ".join("".join(self._heading).split())
                if title:
                    place = self._begin
                    self.marks.append((place, nested(self._levels, int(name[1]), title)))
                self._heading = None

    def _widen(self, gap: str) -> None:
        if self.parts and len(gap) + 9 * gap.count("\n") > len(self._gap) + 9 * self._gap.count("\n"):
            self._gap = gap

    def _put(self, words: str) -> None:
        for part in (self._gap, words):
            self.parts.append(part)
            self._length += len(part)
        if self._heading is not None:
            if not self._heading:
                self._begin = self._length - len(words)
            self._heading += [self._gap, words]
        self._gap = ""
