"""`Outline`: a text and its sections, as every reader of documents gives it back."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """text[start:end] below the titles `heading`, the outermost first."""

    heading: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Outline:
    """sections: in order, without gaps, from the first character to the last. pages: where each page begins in the text."""

    text: str
    sections: tuple[Section, ...]
    title: str = ""
    pages: tuple[int, ...] = ()


def sections(text: str, marks: Iterable[tuple[int, tuple[str, ...]]]) -> tuple[Section, ...]:
    """Sections from where each begins and its heading, in order; neighbours of one heading are one, one without text joins the next."""
    found: list[Section] = []
    ordered = [(0, ()), *marks]
    for number, (start, heading) in enumerate(ordered):
        end = ordered[number + 1][0] if number + 1 < len(ordered) else len(text)
        if start == end:
            continue
        if found and (found[-1].heading == heading or not text[start:end].strip()):
            found[-1] = Section(found[-1].heading, found[-1].start, end)
        elif found and not text[found[-1].start : found[-1].end].strip():
            found[-1] = Section(heading, found[-1].start, end)
        else:
            found.append(Section(heading, start, end))
    return tuple(found)


def nested(levels: list[tuple[int, str]], level: int, title: str) -> tuple[str, ...]:
    """The path of titles after a title of `level` came; `levels` is what is open, and is changed."""
    while levels and levels[-1][0] >= level:
        levels.pop()
    levels.append((level, title))
    return tuple(title for _, title in levels if title)
