"""Rows of any table as examples: the columns decide what they are, and every row that cannot be used is told with its line.

What comes out holds no empty text, no unknown label, no score that is not a number and no text of absurd length. Rows come in with
their line numbers, whoever read them. Knows nothing of files.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from huiyi.errors import InvalidInput, NotFound
from huiyi.training.data import Ints, Labelled, Pairs, Queries, ScoredPairs, Training, Triplets

Rows = Iterable[tuple[int, Mapping[str, Any]]]  # line number, cells by column

# Longer than what any supported model reads (32,768 tokens); in a file of sentences it is a quote that was never closed.
MAX_CHARACTERS = 200_000
FAULTS_SHOWN = 5

# A role -> the names that its column may have, after the role's own.
ALIASES = {
    "sentence1": ("text1", "question1", "句子1", "文本1", "问题1"),
    "sentence2": ("text2", "question2", "句子2", "文本2", "问题2"),
    "label": ("标签",),
    "score": ("similarity_score", "分数", "得分"),
    "query": ("anchor", "question", "查询", "问题"),
    "positive": ("pos", "正例"),
    "negative": ("neg", "负例"),
    "anchor": (),
    "text": ("sentence", "question", "content", "文本", "句子", "问题", "内容"),
    "id": ("_id", "编号"),
    "query_id": ("query-id", "qid"),
    "passage_id": ("corpus-id", "doc_id", "faq_id", "answer_id", "pid"),
    "gain": ("score", "relevance", "label"),
}


def read_training(rows: Rows, columns: Iterable[str], name: str, named: Mapping[str, str] | None = None) -> Training:
    """What `columns` say the rows are: sentence1, sentence2 and label -> Pairs, or score -> ScoredPairs; anchor, positive and negative
    -> Triplets; query and positive, with or without negatives -> Queries.

    named: the columns that play these roles, where they have other names. name: of the file, for errors. A cell may hold a list of
    positives or negatives, and there may be more columns of them (negative_1, negative2); rows with the same query become one.
    NotFound when the columns are none of these, InvalidInput with the lines of the rows that cannot be used.
    """
    roles = Roles(tuple(columns), name, named or {})
    reading = Reading(rows, name)
    if pair := roles.of("sentence1", "sentence2"):
        if label := roles.of("label"):
            first, second, labels = reading.columns((text_cell, pair[0]), (text_cell, pair[1]), (_label, label[0]))
            return Pairs(first, second, np.array(labels, np.int64), lines=reading.lines(), name=name)
        if score := roles.of("score"):
            first, second, scores = reading.columns((text_cell, pair[0]), (text_cell, pair[1]), (number_cell, score[0]))
            return ScoredPairs(first, second, np.array(scores, np.float64), lines=reading.lines(), name=name)
    if (triplet := roles.of("anchor", "positive", "negative")) and len(roles.all("positive")) == len(roles.all("negative")) == 1:
        return Triplets(*reading.columns(*((text_cell, column) for column in triplet)), lines=reading.lines(), name=name)
    if found := roles.of("query", "positive"):
        return _queries(reading, found[0], roles.all("positive"), roles.all("negative"), name)
    raise roles.missing(
        "training data has sentence1, sentence2 and label or score, or anchor, positive and negative, or query and positive"
    )


def read_pairs(rows: Rows, columns: Iterable[str], name: str, named: Mapping[str, str] | None = None) -> Pairs | ScoredPairs:
    """As `read_training`, of pairs alone."""
    roles = Roles(tuple(columns), name, named or {})
    if not roles.of("sentence1", "sentence2") or not (roles.of("label") or roles.of("score")):
        raise roles.missing("pairs are in sentence1 and sentence2, with a label (0 or 1) or a score")
    found = read_training(rows, columns, name, named)
    assert isinstance(found, Pairs | ScoredPairs)
    return found


def read_labelled(rows: Rows, columns: Iterable[str], name: str, named: Mapping[str, str] | None = None) -> Labelled:
    """Texts with the names of their classes, from the columns text and label."""
    roles = Roles(tuple(columns), name, named or {})
    found = roles.of("text", "label")
    if not found:
        raise roles.missing("labelled texts are in the columns text and label", "text=title")
    reading = Reading(rows, name)
    texts, labels = reading.columns((text_cell, found[0]), (text_cell, found[1]))
    return Labelled(texts, labels, lines=reading.lines(), name=name)


def read_examples(rows: Rows, columns: Iterable[str], name: str, named: Mapping[str, str] | None = None) -> Training | Labelled:
    """Training data, or labelled texts where the columns are text and label."""
    roles = Roles(tuple(columns), name, named or {})
    of_training = roles.of("sentence1", "sentence2") or roles.of("query", "positive")
    read = read_labelled if roles.of("text", "label") and not of_training else read_training
    return read(rows, columns, name, named)


class Roles:
    """Which column plays which role. named: roles to columns, as a person said."""

    def __init__(self, there: tuple[str, ...], name: str, named: Mapping[str, str]) -> None:
        self._there, self._name, self._named = there, name, named
        self._folded = {column.casefold(): column for column in reversed(there)}
        for role, column in named.items():
            if role not in ALIASES:
                raise InvalidInput(f"there is no role {role!r} for the column {column!r}; the roles are {', '.join(ALIASES)}")
            if column not in there:
                raise self.missing(f"there is no column {column!r} to be {role}")

    def of(self, *roles: str) -> list[str]:
        """The column of each role, or nothing when one has none."""
        found = [self._column(role) for role in roles]
        return [column for column in found if column] if all(found) else []

    def _column(self, role: str) -> str | None:
        if role in self._named:
            return self._named[role]
        return next((self._folded[name] for name in (role, *ALIASES[role]) if name in self._folded), None)

    def all(self, role: str) -> list[str]:
        """Also the columns that are numbered: negative_1, negative2, negative (2)."""
        first = self._column(role)
        numbered = re.compile(rf"({'|'.join((role, *ALIASES[role]))})s?[ _-]?\(?\d+\)?", re.IGNORECASE)
        return [*([first] if first else []), *(column for column in self._there if column != first and numbered.fullmatch(column))]

    def missing(self, wanted: str, example: str = "sentence1=question") -> NotFound:
        way_out = f"rename yours, or name them with --columns, such as --columns {example}"
        return NotFound(f"{self._name} has the columns {', '.join(self._there)}; {wanted}; {way_out}")


class _Fault(ValueError):
    """What is wrong with one cell, as the end of a sentence that begins with its column. hint: what such cells call for."""

    def __init__(self, what: str, hint: str = "correct them, or leave them out") -> None:
        super().__init__(what)
        self.hint = hint


class Reading:
    """Rows on their way to columns; those that cannot be used are told together, with their lines."""

    def __init__(self, rows: Rows, name: str) -> None:
        self._rows, self._name = rows, name
        self._lines: list[int] = []
        self._faults: list[str] = []
        self._hint = ""

    def columns(self, *wanted: tuple[Callable[[Any], Any], str]) -> list[tuple[Any, ...]]:
        """One tuple for each of `wanted`: how to read a cell, and its column."""
        read = list(self.rows(lambda cells: tuple(cell_of(make, column, cells) for make, column in wanted)))
        return [tuple(row[i] for row in read) for i in range(len(wanted))]

    def rows(self, make: Callable[[Mapping[str, Any]], Any]) -> Iterator[Any]:
        """`make` of every row's cells. InvalidInput at the end when any row had a fault, or when there was none."""
        for line, cells in self._rows:
            try:
                made = make(cells)
            except _Fault as fault:
                self._faults.append(f"line {line}: {fault}")
                self._hint = self._hint or fault.hint
                continue
            self._lines.append(line)
            yield made
        if self._faults:
            more = f"; and {len(self._faults) - FAULTS_SHOWN:,} more" * (len(self._faults) > FAULTS_SHOWN)
            raise InvalidInput(f"{self._name}, {'; '.join(self._faults[:FAULTS_SHOWN])}{more}; {self._hint}")
        if not self._lines:
            raise InvalidInput(f"{self._name} holds no rows")

    def lines(self) -> Ints:
        return np.array(self._lines, np.int64)


def cell_of(make: Callable[[Any], Any], column: str, cells: Mapping[str, Any]) -> Any:
    try:
        return make(cells.get(column))
    except _Fault as fault:
        raise _Fault(f"{column} {fault}", fault.hint) from None


def text_cell(cell: Any) -> str:
    text = "" if cell is None else cell if isinstance(cell, str) else str(cell)
    if isinstance(cell, list | dict):
        raise _Fault("is a list or an object, not a text")
    if not text.strip():
        raise _Fault("is empty")
    if len(text) > MAX_CHARACTERS:
        raise _Fault(
            f"has {len(text):,} characters, more than {MAX_CHARACTERS:,}", "cut such texts, or look for a quote that is never closed"
        )
    return text


def texts_cell(cell: Any) -> tuple[str, ...]:
    """The texts of a cell that may hold none, one, or a list."""
    if cell is None or cell == "":
        return ()
    return tuple(map(text_cell, cell)) if isinstance(cell, list) else (text_cell(cell),)


def _label(cell: Any) -> int:
    value = {"true": "1", "false": "0"}.get(str(cell).strip().casefold(), cell)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if number not in (0, 1):
        what = f"is {_quoted(cell)}, not 0 or 1"
        raise _Fault(what, "for graded scores, name the column score") if math.isfinite(number) else _Fault(what)
    return int(number)


def number_cell(cell: Any) -> float:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _Fault(f"is {_quoted(cell)}, not a number")
    return number


def _quoted(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    return repr(text if len(text) <= 40 else f"{text[:39]}…") if text.strip() else "empty"


def _queries(reading: Reading, query: str, positive: list[str], negative: list[str], name: str) -> Queries:
    def row(cells: Mapping[str, Any]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        asked = cell_of(text_cell, query, cells)
        answers, others = (tuple(text for column in group for text in cell_of(texts_cell, column, cells)) for group in (positive, negative))
        if not answers:
            raise _Fault(f"{positive[0]} is empty")
        return asked, answers, others

    read = list(reading.rows(row))
    merged: dict[str, tuple[int, dict[str, None], dict[str, None]]] = {}
    for line, (asked, answers, others) in zip(reading.lines(), read, strict=True):
        _, yes, no = merged.setdefault(asked, (int(line), {}, {}))
        yes.update(dict.fromkeys(answers))
        no.update(dict.fromkeys(others))
    positives = tuple(tuple(yes) for _, yes, _ in merged.values())
    negatives = tuple(tuple(text for text in no if text not in yes) for _, yes, no in merged.values())
    lines = np.array([line for line, _, _ in merged.values()], np.int64)
    return Queries(tuple(merged), positives, negatives, lines=lines, name=name)
