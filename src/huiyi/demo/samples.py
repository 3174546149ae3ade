"""The texts of the demo: a shop's messages, its FAQ with questions that test it, labelled examples, and what was planted in them.

All were written for huiyi; shop, customers and orders are invented. Owns the data files beside it and reads them.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
MESSAGES, FAQ, QUESTIONS, INTENTS = (FOLDER / name for name in ("messages.jsonl", "faq.jsonl", "faq_questions.tsv", "intents.jsonl"))
PLANTED = FOLDER / "planted.json"
FILES = (MESSAGES, FAQ, QUESTIONS, INTENTS, PLANTED)
UNANSWERED = "-1"


@dataclass(frozen=True)
class Message:
    """date: as 2026-08-17. channel: app, chat, email, phone or review. lang: its two letters."""

    id: str
    text: str
    date: str
    channel: str
    category: str
    lang: str


@dataclass(frozen=True)
class Entry:
    """Of the FAQ."""

    id: str
    question: str
    answer: str
    category: str
    lang: str


@dataclass(frozen=True)
class Question:
    """id: of the entry that answers it; UNANSWERED where none does."""

    question: str
    id: str

    @property
    def lang(self) -> str:
        """zh, en or other."""
        return "en" if self.question.isascii() else "zh" if re.search("[\u4e00-\u9fff]", self.question) else "other"


@dataclass(frozen=True)
class Example:
    text: str
    label: str


@dataclass(frozen=True)
class Planted:
    """Ids of messages. repeats: one complaint, sent twice with small edits. apart: near in words, and not the same, with what differs:
    number, negation or term. new_topic: about what began in the last weeks. complaints: three about paying, two about parcels.

    answer: the entry of the FAQ that answers `question`.
    """

    repeats: tuple[tuple[str, str], ...]
    apart: tuple[tuple[str, str, str], ...]
    new_topic: tuple[str, ...]
    complaints: tuple[str, ...]
    question: str
    answer: str


def messages() -> list[Message]:
    """In the order of their dates."""
    return [Message(**row) for row in _rows(MESSAGES)]


def faq() -> list[Entry]:
    return [Entry(**row) for row in _rows(FAQ)]


def intents() -> list[Example]:
    return [Example(**row) for row in _rows(INTENTS)]


def questions() -> list[Question]:
    head, *lines = QUESTIONS.read_text("utf-8").splitlines()
    names = head.split("\t")
    return [Question(**dict(zip(names, line.split("\t"), strict=True))) for line in lines]


def planted() -> Planted:
    found = json.loads(PLANTED.read_text("utf-8"))
    return Planted(
        repeats=tuple((one, other) for one, other in found["repeats"]),
        apart=tuple((one, other, kind) for one, other, kind in found["apart"]),
        new_topic=tuple(found["new_topic"]),
        complaints=tuple(found["complaints"]),
        question=found["question"],
        answer=found["answer"],
    )


@dataclass(frozen=True)
class Pair:
    """label: 1 where both mean the same."""

    sentence1: str
    sentence2: str
    label: int


def pairs() -> list[Pair]:
    """A test question with the FAQ's own words for it and with the next entry of its language; planted repeats and traps."""
    entries, text = faq(), {message.id: message.text for message in messages()}
    place = {entry.id: at for at, entry in enumerate(entries)}
    found = []
    for asked in questions():
        if asked.id == UNANSWERED:
            continue
        own = entries[place[asked.id]]
        others = [entry for entry in entries if entry.lang == own.lang]
        next_one = others[(others.index(own) + 1) % len(others)]
        found += [Pair(asked.question, own.question, 1), Pair(asked.question, next_one.question, 0)]
    known = planted()
    found += [Pair(text[one], text[other], 1) for one, other in known.repeats]
    return found + [Pair(text[one], text[other], 0) for one, other, _ in known.apart]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
