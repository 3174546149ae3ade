"""Where a text may be cut: after paragraphs, sentences, clauses and words of many languages, and never inside a character.

Places are offsets in code points. It knows nothing of tokens or files, and never raises, whatever the text holds.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class Ending(IntEnum):
    """What ends at a place, the weakest first."""

    CHARACTER = 0
    WORD = 1
    CLAUSE = 2
    LINE = 3
    SENTENCE = 4
    PARAGRAPH = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """text[start:end], the blanks behind it included, and what ends there."""

    start: int
    end: int
    ending: Ending


# Marks that end a sentence wherever they stand: Chinese and Japanese, Arabic, Urdu, Hindi, Khmer, Burmese, Ethiopic, Armenian, Tibetan.
_ANYWHERE = "。！？；｡؟۔؛।॥។။።፧։༎"
_CLOSERS = "”’»›」』）】》〉〕〗］｝\"')\\]}"
_GAP = r"[^\S\n\r\x85\u2028\u2029]"  # blanks inside a line
_BREAK = r"(?:\r\n|[\n\r\x85\u2028\u2029])"
_PARAGRAPH = re.compile(rf"{_GAP}*{_BREAK}(?:{_GAP}*{_BREAK})+")
_LINE = re.compile(rf"{_GAP}*{_BREAK}")
# Lines that begin like this are items of a list, rows of a table, quotes, headings or fences: the line before them has ended.
_ITEM = re.compile(rf"{_GAP}*(?:[-*+•·▪◦|>#]|`{{3}}|~{{3}}|\(?[0-9a-zA-Z]{{1,3}}[.)、）]|[（(]?[一二三四五六七八九十百]+[、.）)])")
_SENTENCE = re.compile(rf"(?:[{_ANYWHERE}]+[{_CLOSERS}{_ANYWHERE}]*|[.!?…]+[{_CLOSERS}]*(?=\s|$))\s*")
_CLAUSE = re.compile(r"[，、：—،、;:,]+(?:(?<=[，、：—،])|(?=\s|$))\s*")
_WORD = re.compile(r"\s+")
_LINE_END = re.compile(rf"{_BREAK}\s*")
# A dot behind these ends no sentence.
_ABBREVIATION = re.compile(
    r"\w(?:\.\w)*|mrs?|ms|dr|prof|sr|jr|st|vs|etc|approx|nos?|vol|figs?|eq|al|inc|ltd|co|corp|dept|est|bzw|usw|bspw|ca|evtl|ggf|nr|str|cf|art"
    r"|av|mme|mlle|sra|srta|uds?|vgl",
    re.IGNORECASE | re.ASCII,
)


def pieces(text: str, start: int, end: int, by_line: bool = False) -> list[Piece]:
    """text[start:end] as sentences (lines where `by_line`, as code has it), in order, without gaps."""
    found: list[Piece] = []
    at = start
    for paragraph, ending in _paragraphs(text, start, end):
        places = _lines(text, at, paragraph) if by_line else _sentences(text, at, paragraph)
        for place in places:
            if at < place < paragraph:
                found.append(Piece(at, place, Ending.SENTENCE))
                at = place
        found.append(Piece(at, paragraph, ending))
        at = paragraph
    return found


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, Ending]]:
    at = start
    for gap in _PARAGRAPH.finditer(text, start, end):
        if text[at : gap.start()].strip():
            yield gap.end(), Ending.PARAGRAPH
            at = gap.end()
    if at < end:
        yield end, Ending.PARAGRAPH


def _lines(text: str, start: int, end: int) -> Iterator[int]:
    return (found.end() for found in _LINE.finditer(text, start, end))


def _sentences(text: str, start: int, end: int) -> list[int]:
    places = {found.end() for found in _SENTENCE.finditer(text, start, end) if not _abbreviates(text, start, found)}
    places.update(place for place in _lines(text, start, end) if _ITEM.match(text, place, end))
    return sorted(places)


def _abbreviates(text: str, start: int, found: re.Match[str]) -> bool:
    """A dot behind an abbreviation, an initial or a list's number."""
    if not found[0].startswith(".") or found[0].startswith(".."):
        return False
    word = re.search(r"[\w.]*$", text[max(start, found.start() - 16) : found.start()])
    return word is not None and _ABBREVIATION.fullmatch(word[0]) is not None


def cut_before(text: str, start: int, limit: int) -> tuple[int, Ending]:
    """The best place in (start, limit] to cut text[start:] at: the strongest ending in the last half, the latest of its kind."""
    middle = start + (limit - start) // 2
    for pattern, ending in ((_LINE_END, Ending.LINE), (_CLAUSE, Ending.CLAUSE), (_WORD, Ending.WORD)):
        places = [found.end() for found in pattern.finditer(text, middle, limit) if start < found.end() <= limit]
        if places:
            return places[-1], ending
    return _whole_character(text, start, limit), Ending.CHARACTER


def cut_after(text: str, limit: int, end: int) -> int:
    """The best place in [limit, end) to begin text[:end]'s tail at: behind a clause, else a word, in its first half."""
    middle = limit + (end - limit + 1) // 2
    for pattern in (_LINE_END, _CLAUSE, _WORD):
        found = pattern.search(text, limit, middle)
        if found and found.end() < end:
            return found.end()
    place = limit
    while place < end and not _may_cut(text, place):
        place += 1
    return place if place < end else limit


def _whole_character(text: str, start: int, limit: int) -> int:
    place = limit
    while place > start and not _may_cut(text, place):
        place -= 1
    return place if place > start else limit  # a character of more parts than a chunk has room for


def _may_cut(text: str, place: int) -> bool:
    """Whether what is seen as one character (accents, emoji in sequence, flags, both halves of a line break) stays whole."""
    if not 0 < place < len(text):
        return True
    before, after = text[place - 1], text[place]
    if "\u200d" in (before, after) or (before, after) == ("\r", "\n"):
        return False
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        return False
    if unicodedata.category(after) in ("Mn", "Mc", "Me") or "\U0001f3fb" <= after <= "\U0001f3ff":
        return False
    return not (_is_flag(before) and _is_flag(after) and _flags_before(text, place) % 2)


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flags_before(text: str, place: int) -> int:
    count = 0
    while place - count > 0 and _is_flag(text[place - count - 1]):
        count += 1
    return count
