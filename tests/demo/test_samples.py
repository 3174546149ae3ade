"""The demo's texts have the shape that its pages speak of, and what was planted in them is found by the tasks on the bundled model."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

import huiyi
from huiyi.demo import samples
from huiyi.model import Model
from huiyi.tasks import Guard, cluster, dedup

SCRIPTS = {"ar": "ARABIC", "ja": "HIRAGANA", "ko": "HANGUL", "ru": "CYRILLIC", "zh": "CJK", "en": "LATIN"}


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with huiyi.load("starter") as model:
        yield model


def test_messages_are_many_in_ten_languages_over_a_quarter() -> None:
    messages = samples.messages()
    assert 400 <= len(messages) <= 500
    languages = Counter(message.lang for message in messages)
    assert languages.most_common(4)[0][0] == "zh"
    assert [lang for lang, _ in languages.most_common(4)] == ["zh", "en", "es", "ar"]
    assert set(languages) == {"zh", "en", "es", "ar", "ja", "pt", "fr", "de", "ko", "ru"}
    days = [date.fromisoformat(message.date) for message in messages]
    assert days == sorted(days)
    assert timedelta(weeks=12) <= max(days) - min(days) <= timedelta(weeks=14)
    assert {message.channel for message in messages} == {"app", "chat", "email", "phone", "review"}
    categories = Counter(message.category for message in messages)
    assert set(categories) == {"delivery", "payment", "refund", "account", "product", "promotion", "feedback"}
    assert min(categories.values()) >= 20


def test_labelled_pairs_are_of_both_kinds_and_none_is_a_text_with_itself() -> None:
    pairs = samples.pairs()
    assert len(pairs) >= 300
    assert 0.45 < sum(pair.label for pair in pairs) / len(pairs) < 0.55
    assert len({(pair.sentence1, pair.sentence2) for pair in pairs}) == len(pairs)
    assert all(pair.sentence1 != pair.sentence2 for pair in pairs)


def test_ids_and_texts_are_there_once() -> None:
    for ids in ([m.id for m in samples.messages()], [e.id for e in samples.faq()], [q.question for q in samples.questions()]):
        assert len(set(ids)) == len(ids)
    texts = [m.text for m in samples.messages()]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {example.text for example in samples.intents()}
    assert all(text == text.strip() and text for text in texts)


def test_the_language_of_a_message_is_that_of_its_letters() -> None:
    for message in samples.messages():
        names = {unicodedata.name(letter, "").split()[0] for letter in message.text if letter.isalpha()}
        if script := SCRIPTS.get(message.lang):
            assert script in names, message
        if message.lang in ("en", "es", "pt", "fr", "de"):
            assert names == {"LATIN"}, message


def test_the_faq_has_sixty_entries_and_questions_in_other_words() -> None:
    entries, asked = samples.faq(), samples.questions()
    assert len(entries) == 60
    assert Counter(entry.lang for entry in entries) == {"zh": 42, "en": 18}
    known = {entry.id for entry in entries}
    answered = [question for question in asked if question.id != samples.UNANSWERED]
    assert {question.id for question in answered} == known
    assert len(answered) >= 120
    assert len(asked) - len(answered) >= 15
    assert not {question.question for question in asked} & {entry.question for entry in entries}


def test_labelled_examples_are_fifteen_to_twenty_five_a_label() -> None:
    counts = Counter(example.label for example in samples.intents())
    assert 12 <= len(counts) <= 16
    assert 15 <= min(counts.values()) <= max(counts.values()) <= 25


def test_what_was_planted_names_messages_that_are_there() -> None:
    planted, messages = samples.planted(), {message.id: message for message in samples.messages()}
    named = [*sum(planted.repeats, ()), *(id_ for one, other, _ in planted.apart for id_ in (one, other)), *planted.new_topic]
    assert set(named) | set(planted.complaints) <= set(messages)
    assert len(planted.repeats) >= 20
    assert {kind for _, _, kind in planted.apart} == {"number", "negation", "term"}
    assert min(messages[id_].date for id_ in planted.new_topic) >= "2026-10-26"
    assert len({messages[id_].lang for id_ in planted.new_topic}) >= 8
    assert planted.question.startswith("我昨天买的耳机")
    assert planted.answer in {entry.id for entry in samples.faq()}


def test_the_guard_keeps_every_trap_apart_and_no_repeat() -> None:
    planted, text = samples.planted(), {message.id: message.text for message in samples.messages()}
    guard = Guard()
    guard.learn(text.values())
    for one, other, kind in planted.apart:
        assert kind in {remark.kind for remark in guard.remarks(text[one], text[other])}, (text[one], text[other])
    for one, other in planted.repeats:
        assert not guard.remarks(text[one], text[other]), (text[one], text[other])


def test_dedup_finds_the_planted_repeats_and_merges_no_trap(model: Model) -> None:
    """In the languages that the bundled model can tell apart."""
    planted = samples.planted()
    messages = [message for message in samples.messages() if message.lang not in ("ar", "ko")]
    texts = [message.text for message in messages]
    found = dedup(model.encode(texts), texts)
    groups = [{messages[row].id for row in group.rows} for group in found.groups]
    missed = [pair for pair in planted.repeats if not any(set(pair) <= group for group in groups)]
    assert len(missed) <= 3, missed
    assert [pair for pair in planted.apart if any(set(pair[:2]) <= group for group in groups)] == []
    held = {frozenset((messages[pair.row].id, messages[pair.other].id)) for pair in found.apart}
    assert sum(frozenset(pair[:2]) in held for pair in planted.apart) >= len(planted.apart) // 3


def test_the_new_topic_is_one_of_those_that_are_found(model: Model) -> None:
    """Half of its Chinese messages or more lie in one topic, and are half of that topic or more."""
    planted, messages = set(samples.planted().new_topic), [message for message in samples.messages() if message.lang == "zh"]
    labels = cluster(model.encode([message.text for message in messages]), n_topics=20).labels
    of = [topic for topic, message in zip(labels, messages, strict=True) if message.id in planted]
    topic, inside = Counter(of).most_common(1)[0]
    assert inside >= 0.5 * len(of)
    assert inside >= 0.5 * (labels == topic).sum()
