"""Documents cut into chunks that a model reads whole: at sentence ends, below a number of tokens, each with its place.

It knows no tokenizer: how many tokens a text has is told by a function that is handed in. The chunks of a document without what they
repeat of the one before cover all of it but blanks, in order, and depend on the text around them alone: after an edit the chunks
before it, and all but the next few behind it, are the same again and have the same ids.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from zlib import crc32

from huiyi.errors import InvalidInput
from huiyi.sources.documents import Document, Section
from huiyi.sources.sentences import Ending, Piece, cut_after, cut_before, pieces

# Numbers of tokens of texts, special tokens not counted; the texts come in lists because tokenizers are faster with those.
CountTokens = Callable[[Sequence[str]], Sequence[int]]

DEFAULT_TOKENS = 256
DEFAULT_OVERLAP = 32
LEAST_TOKENS = 32  # one character can have as many as 18 (U+FDFA, spelled out)
COUNT_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """text: the document's own text from `start` to `end` (characters), without the blanks around it.

    heading: the titles above it, the outermost first; of code, the names. page, line: where it begins, from 1, where there are such.
    repeats: the characters at its start that the chunk before ends with.
    """

    id: str
    text: str
    source: str
    title: str
    heading: tuple[str, ...]
    page: int | None
    line: int | None
    start: int
    end: int
    repeats: int = field(default=0, compare=False)

    @property
    def metadata(self) -> dict[str, str | int]:
        """The place as a flat record: source, title, heading (joined by " > "), page, line, start, end; only what there is."""
        place = {"source": self.source, "title": self.title, "heading": " > ".join(self.heading), "page": self.page, "line": self.line}
        return {name: value for name, value in place.items() if value not in ("", None)} | {"start": self.start, "end": self.end}


def chunk(document: Document, count: CountTokens, tokens: int = DEFAULT_TOKENS, overlap: int = DEFAULT_OVERLAP) -> Iterator[Chunk]:
    """The chunks of `document` in order, each of at most `tokens` tokens, of which up to `overlap` repeat the chunk before it.

    A chunk never holds text of two sections. What it repeats are whole sentences where one fits into `overlap`, else the end of one.
    An id is the document's source, a digest of the chunk's text, and a number where the same text comes again.
    """
    if tokens < LEAST_TOKENS:
        raise InvalidInput(f"a chunk must have room for at least {LEAST_TOKENS} tokens, not {tokens}")
    if not 0 <= overlap <= tokens // 2:
        raise InvalidInput(f"an overlap must be between 0 and half of the {tokens} tokens of a chunk, not {overlap}")
    cutter = _Cutter(document.text, count, tokens, overlap, by_line=document.kind == "code")
    seen: dict[str, int] = {}
    for section in document.sections:
        for core, start, end in cutter.spans(section):
            text = document.text[start:end]
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]
            seen[digest] = number = seen.get(digest, 0) + 1
            yield Chunk(
                id=f"{document.source}#{digest}" + (f"-{number}" if number > 1 else ""),
                text=text,
                source=document.source,
                title=document.title,
                heading=section.heading,
                page=bisect_right(document.pages, start) or None,
                line=bisect_right(document.lines, start) or None,
                start=start,
                end=end,
                repeats=max(0, core - start),
            )


@dataclass(frozen=True)
class _Cutter:
    text: str
    count: CountTokens
    tokens: int
    overlap: int
    by_line: bool

    def spans(self, section: Section) -> Iterator[tuple[int, int, int]]:
        """(where the new text begins, start, end) of each chunk of a section."""
        if not self._trimmed(section.start, section.end):
            return
        parts, sizes = self._sized(section)
        before = 0  # the part that the chunk before began at
        for first, last in self._groups(parts, sizes):
            core, end = parts[first].start, parts[last - 1].end
            start = self._repeated(parts[before:first], sizes[before:first]) if first else core
            before = first
            if self._trimmed(core, end):
                yield from self._fitted(core, start, end)

    def _sized(self, section: Section) -> tuple[list[Piece], list[int]]:
        """Sentences and their numbers of tokens; one that is longer than a chunk is cut where it hurts least."""
        found = pieces(self.text, section.start, section.end, self.by_line)
        parts: list[Piece] = []
        sizes: list[int] = []
        for piece, size in zip(found, self._counts(found), strict=True):
            if size <= self._room:
                parts.append(piece)
                sizes.append(size)
            else:
                for part in self._cut(piece, size):
                    parts.append(part)
                    sizes.append(self._one(part.start, part.end))
        return parts, sizes

    @property
    def _room(self) -> int:
        return self.tokens - self.overlap

    def _counts(self, found: Sequence[Piece]) -> Iterator[int]:
        batch: list[str] = []
        characters = 0
        for piece in found:
            batch.append(self.text[piece.start : piece.end])
            characters += piece.end - piece.start
            if characters >= COUNT_CHARACTERS:
                yield from self.count(batch)
                batch, characters = [], 0
        if batch:
            yield from self.count(batch)

    def _one(self, start: int, end: int) -> int:
        return self.count([self.text[start:end]])[0]

    def _cut(self, piece: Piece, size: int) -> Iterator[Piece]:
        start = piece.start
        while start < piece.end:
            width = max(1, (piece.end - piece.start) * self._room // size)  # a guess, put right below
            most = self._longest(start, piece.end, width, self._room)
            if most == piece.end:
                yield Piece(start, most, piece.ending)
                return
            place, ending = cut_before(self.text, start, most)
            yield Piece(start, place, ending)
            start = place

    def _longest(self, start: int, end: int, width: int, room: int) -> int:
        """The furthest place, up to rounding by the tokenizer, that text from `start` may reach with at most `room` tokens."""
        low, high = start, start + width
        while high < end and self._one(start, high) <= room:
            low, high = high, high + (high - start)
        high = min(high, end)
        if low < high == end and self._one(start, end) <= room:
            return end
        while high - low > 1:
            middle = (low + high) // 2
            if self._one(start, middle) <= room:
                low = middle
            else:
                high = middle
        return max(low, start + 1)

    def _groups(self, parts: Sequence[Piece], sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Runs of parts as (first, last + 1), each of at most `_room` tokens, or all of them where they are one chunk.

        A run ends in its last half at the strongest ending; among equal ones, behind the part whose digest is the largest: a choice
        that does not depend on where the run began, so that runs fall into step again after an edit.
        """
        ends = [0, *accumulate(sizes)]
        first = 0
        if ends[-1] <= self.tokens:
            yield 0, len(parts)
            return
        while ends[-1] - ends[first] > self._room:
            most = max(bisect_right(ends, ends[first] + self._room) - 1, first + 1)
            least = min(bisect_right(ends, ends[first] + self._room // 2), most)
            last = max(range(least, most + 1), key=lambda end: self._strength(parts[end - 1]))
            yield first, last
            first = last
        yield first, len(parts)

    def _strength(self, part: Piece) -> tuple[Ending, int]:
        return part.ending, crc32(self.text[part.start : part.end].strip().encode("utf-8", "surrogatepass"))

    def _repeated(self, parts: Sequence[Piece], sizes: Sequence[int]) -> int:
        """Where the tail of `parts` begins that the next chunk repeats."""
        end = start = parts[-1].end
        total = 0
        for part, size in zip(reversed(parts), reversed(sizes), strict=True):
            total += size
            if total > self.overlap:
                break
            start = part.start
        if start < end or not self.overlap:
            return start
        low, high = parts[-1].start, end  # too many tokens from low, none from high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._one(middle, end) <= self.overlap else (middle, high)
        return cut_after(self.text, high, end) if high < end else end

    def _fitted(self, core: int, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Sums of parts are nearly the tokens of the whole; where they were less, first the repeated text goes, then it is cut."""
        while True:
            for begin in dict.fromkeys((start, core)):
                span = self._trimmed(begin, end)
                if not span:
                    return
                if self._one(*span) <= self.tokens:
                    yield core, *span
                    return
            most = self._longest(core, end, (end - core) // 2 + 1, self.tokens)
            if self._one(core, most) > self.tokens:
                raise InvalidInput(f"one character ({self.text[core]!r}) has more than the {self.tokens} tokens of a chunk; allow more")
            place, _ = cut_before(self.text, core, most)
            yield from self._fitted(core, start if start == core else core, place)
            core = start = place

    def _trimmed(self, start: int, end: int) -> tuple[int, int] | None:
        """Without blanks around it (of code, without blank lines: the first line keeps its indentation); None where nothing is left."""
        text = self.text[start:end]
        kept = text.lstrip()
        if not kept:
            return None
        begin = start + len(text) - len(kept)
        if self.by_line:
            begin = max(start, max(self.text.rfind(mark, start, begin) for mark in "\n\r") + 1)
        return begin, start + len(text.rstrip())
