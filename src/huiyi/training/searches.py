"""What retrieval is judged on: queries, passages, and which passage answers which query.

Three layouts, told by the columns: queries with the text of their passage; queries with its id, and passages with ids in a file of their
own; queries with ids, passages with ids, and a third file that joins them, as BEIR and TREC have it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from huiyi.errors import InvalidInput
from huiyi.training.data import Examples, Queries
from huiyi.training.reading import Reading, Roles, Rows, cell_of, number_cell, read_training, text_cell, texts_cell

Named = Mapping[str, str]
Gains = dict[str, float]  # by id of a passage
OF_QUERIES, OF_PASSAGES, OF_ANSWERS = {"query", "query_id", "positive", "negative", "passage_id"}, {"id", "text"}, {"gain"}


@dataclass(frozen=True, eq=False)
class Asked(Examples):
    """Queries with their own ids ("" where there are none) and the ids of the passages that answer them (none where another file says)."""

    TEXTS = ("queries",)
    queries: tuple[str, ...]
    ids: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Searches:
    """Distinct queries, sorted. relevant: for each the places in `corpus` of what answers it, and how well (> 0); never empty.

    lines: of the queries in the file `name`. corpus: distinct texts, sorted. unanswered: queries left out, as nothing there answers them.
    """

    queries: tuple[str, ...]
    relevant: tuple[dict[int, float], ...]
    corpus: tuple[str, ...]
    lines: tuple[int, ...]
    name: str
    unanswered: int

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def digest(self) -> str:
        """SHA-256 of queries, corpus and what answers what."""
        wanted = [sorted(gains.items()) for gains in self.relevant]
        return hashlib.sha256(repr((self.queries, wanted, self.corpus)).encode("utf-8", "surrogatepass")).hexdigest()


def read_asked(rows: Rows, columns: Iterable[str], name: str, named: Named | None = None) -> Asked | Queries:
    """Queries with the texts that answer them, or with ids of passages, or with ids of their own."""
    own, there = {role: column for role, column in (named or {}).items() if role in OF_QUERIES}, tuple(columns)
    roles = Roles(there, name, own)
    if roles.of("query", "positive"):
        found = read_training(rows, there, name, own)
        assert isinstance(found, Queries)
        return found
    query = roles.of("query") or roles.of("text")
    answer, own_id = roles.of("passage_id"), roles.of("query_id") or roles.of("id")
    if not query or not (answer or own_id):
        raise roles.missing(
            "retrieval needs query and positive (a text), or query and passage_id with --corpus, or query_id with --qrels", "query=asked"
        )

    def row(cells: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
        answers = cell_of(texts_cell, answer[0], cells) if answer else ()
        return cell_of(text_cell, query[0], cells), cell_of(text_cell, own_id[0], cells) if own_id else "", answers

    reading = Reading(rows, name)
    queries, ids, answers = zip(*reading.rows(row), strict=True)
    return Asked(queries, ids, answers, lines=reading.lines(), name=name)


def read_passages(rows: Rows, columns: Iterable[str], name: str, named: Named | None = None) -> dict[str, str]:
    """Texts by id; by themselves where there is no column id."""
    roles = Roles(tuple(columns), name, {role: column for role, column in (named or {}).items() if role in OF_PASSAGES})
    text, id_ = roles.of("text"), roles.of("id") or roles.of("passage_id")
    if not text:
        raise roles.missing("passages are in the columns id and text", "text=answer")
    reading = Reading(rows, name)
    texts, ids = reading.columns((text_cell, text[0]), (text_cell, (id_ or text)[0]))
    passages: dict[str, str] = {}
    for line, one, passage in zip(reading.lines(), ids, texts, strict=True):
        if passages.setdefault(one, passage) != passage:
            raise InvalidInput(f"{name}, line {line}: the id {one!r} stood there before, with another text; ids must be unique")
    return passages


def read_answers(rows: Rows, columns: Iterable[str], name: str, named: Named | None = None) -> dict[str, Gains]:
    """By id of the query what answers it, and how well (1 where no column says); what answers with 0 or less does not."""
    wanted = OF_ANSWERS | {"query_id", "passage_id"}
    roles = Roles(tuple(columns), name, {role: column for role, column in (named or {}).items() if role in wanted})
    pair, gain = roles.of("query_id", "passage_id"), roles.of("gain")
    if not pair:
        raise roles.missing("answers are in the columns query_id and passage_id, with a gain where answers differ", "passage_id=doc")
    reading = Reading(rows, name)
    columns_read = reading.columns((text_cell, pair[0]), (text_cell, pair[1]), *([(number_cell, gain[0])] if gain else []))
    answers: dict[str, Gains] = {}
    for query, passage, *gained in zip(*columns_read, strict=True):
        if not gained or gained[0] > 0:
            answers.setdefault(query, {})[passage] = gained[0] if gained else 1.0
    return answers


def joined(asked: Asked | Queries, passages: Mapping[str, str] | None, answers: Mapping[str, Gains] | None) -> Searches:
    """Queries that something in the corpus answers, sorted; the same query on several lines is one.

    passages: the corpus; None makes it of all texts that the queries bring. Queries that bring texts add these to it.
    """
    texts = dict(passages or {})
    if isinstance(asked, Queries):
        texts |= {text: text for group in (*asked.positives, *asked.negatives) for text in group}
        gains = [dict.fromkeys(positives, 1.0) for positives in asked.positives]
    elif passages is None:
        raise InvalidInput(f"{asked.name} names its passages by ids; give the file that holds them with --corpus")
    elif answers is not None:
        gains = [answers.get(id_, {}) for id_ in asked.ids]
    elif not any(asked.answers):
        raise InvalidInput(f"{asked.name} does not say what answers its queries; give the file that does with --qrels", "query=asked")
    else:
        gains = [dict.fromkeys(ids, 1.0) for ids in asked.answers]
    corpus = sorted(set(texts.values()))
    place = {text: number for number, text in enumerate(corpus)}
    found: dict[str, tuple[int, dict[int, float]]] = {}
    unanswered = set()
    for line, query, wanted in zip(asked.lines, asked.queries, gains, strict=True):
        relevant = {place[texts[id_]]: gain for id_, gain in wanted.items() if id_ in texts}
        if relevant:
            found.setdefault(query, (int(line), {}))[1].update(relevant)
        else:
            unanswered.add(query)
    if not found:
        raise InvalidInput(f"no query of {asked.name} is answered by a passage of the corpus; are the ids the same in both files?")
    order = sorted(found)
    return Searches(
        queries=tuple(order),
        relevant=tuple(found[query][1] for query in order),
        corpus=tuple(corpus),
        lines=tuple(found[query][0] for query in order),
        name=asked.name,
        unanswered=len(unanswered - found.keys()),
    )
