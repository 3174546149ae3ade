"""Markdown split at its headings, as CommonMark finds them: none inside code, quotes or lists. The text stays as it is."""

import re
from itertools import pairwise

from huiyi.sources.outline import Outline, nested, sections

_BREAK = re.compile("\r\n|\n|\r")
_FRONT = re.compile(r"\ufeff?---[^\S\r\n]*(?:\r\n|\n|\r)(?:.*?(?:\r\n|\n|\r))??(?:---|\.\.\.)[^\S\r\n]*(?=\r\n|\n|\r|$)", re.DOTALL)
_TITLE = re.compile(r"^title\s*:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def outline(text: str) -> Outline:
    """Title: of the front matter, else the first heading of the highest level. A heading without text of its own goes with the next one."""
    from markdown_it import MarkdownIt

    front = _FRONT.match(text)
    # Front matter would be read as a heading; empty lines in its place keep the numbers of the lines.
    body = "\n" * len(_BREAK.findall(front[0])) + text[front.end() :] if front else text
    starts = [0, *(found.end() for found in _BREAK.finditer(text))]
    marks: list[tuple[int, tuple[str, ...]]] = []
    open_levels: list[tuple[int, str]] = []
    titles: list[tuple[int, str]] = []
    end_of_heading = -1
    tokens = MarkdownIt("commonmark", {"maxNesting": 20}).parse(body)
    for token, content in pairwise(tokens):
        if token.type != "heading_open" or token.level or not token.map:
            continue
        level, title = int(token.tag[1:]), _plain(content.content if not content.children else _spoken(content.children))
        if title:
            titles.append((level, title))
        place = starts[token.map[0]]
        heading = nested(open_levels, level, title)
        if marks and not text[end_of_heading:place].strip() and len(heading) > len(marks[-1][1]):
            marks[-1] = (marks[-1][0], heading)
        else:
            marks.append((place, heading))
        end_of_heading = starts[token.map[1]] if token.map[1] < len(starts) else len(text)
    named = _TITLE.search(front[0]) if front else None
    title = named[1].strip("\"'") if named else min(titles, key=lambda found: found[0], default=(0, ""))[1]
    return Outline(text, sections(text, marks), title)


def _spoken(children: object) -> str:
    return "".join(
        child.content if child.type in ("text", "code_inline", "image") else " " if child.type.endswith("break") else ""
        for child in children  # type: ignore[attr-defined]
    )


def _plain(title: str) -> str:
    return " ".join(title.split())
