"""What topics are about, from their texts alone: words, phrases, a short name, and the texts at the centre.

A word counts for a topic as class-based TF-IDF says (Grootendorst 2022), counted in texts, so that one long text does not decide.
Chinese is cut into words by rjieba (the jieba dictionary); neighbouring words that belong together are phrases. A topic of several
languages is named in the one that most of its texts are in. Knows nothing of how topics were found.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from huiyi.types import Floats

NAME_CHARACTERS = 12
WORDS = 8  # shown of a topic
TEXTS = 2_000  # of a topic that are read
TEXT_CHARACTERS = 1_000  # of a text that are read
LONGEST_PHRASE = 3  # words
LONGEST_WORD = 40  # characters; what is longer is no word
PHRASE_SHARE = 0.45  # a phrase stands for its word where so many of the word's texts have the phrase
NEW_WORD, TOGETHER = 4, 0.5  # texts that a new word is in, and how often its rarer piece must come with the other
SECOND_SHARE = 1 / 6  # of the texts with a name's first word, as many have what stands beside it: else it is another matter that got in

THREADS = 4

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("latin", re.compile(r"[A-Za-z\u00c0-\u024f]")),
)
_NOISE = re.compile(r"https?://\S+|\S+@\S+\.\S+|&[a-z]+;|[*#_]{2,}")
_PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\W\d_]+(?:['’\-][^\W\d_]+)*|[^\s\w]|\d+|_")
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

# Words that say nothing of a topic. For telling languages of the Latin script apart, too.
_STOP = {
    "zh": (
        "的 了 是 我 你 您 他 她 它 们 我们 你们 他们 在 有 和 与 就 都 而 及 着 或 一个 一 不 没 没有 也 "
        "还 又 很 到 说 要 去 会 这 那 这个 那个 什么 怎么 怎么办 怎样 如何 为什么 为啥 吗 呢 吧 啊 呀 哦 嘛 "
        "请问 请 谢谢 你好 您好 可以 能 能否 可 把 被 让 给 对 从 向 以 为 之 于 但 但是 如果 因为 所以 多少 "
        "哪 哪里 哪个 几 个 上 下 里 中 来 想 知道 时候 现在 已经 一下 一直 时 后 前 再 只 才 该 啥 咋 咋办 "
        "咋样 怎么样 怎么回事 多久 是不是 能不能 可不可以 有没有 还是 不是 不能 不会 不了 为何 这样 那么 这么 吗 "
        "么 啦 应该 需要 进行 自己 今天 还有 以及 等 最 更 太 被 将 年 月 日 称 曝 问"
    ),
    "en": (
        "a an the and or but if of to in on at by for with about from into is are was were be been am do does did done "
        "has have had i me my you your he she it its we our they their this that these those what which who when where "
        "why how can could will would should may might must not no so as than too very just there here up out more most "
        "some any all need want please help know get got let hi hello thanks thank im i'm don't can't doesn't didn't "
        "isn't it's i'd i've what's tell us them then also still make made like give go going way long much many say "
        "use using cannot don’t can’t it’s i’m what’s i’d i’ve one new were being because while since"
    ),
    "de": (
        "der die das und oder aber ein eine einen einem einer ist sind war ich du sie er es wir ihr mein meine nicht "
        "kein keine mit von zu in im auf für wie was wo wann warum kann wird werden wurde habe hat haben auch noch nur "
        "bei aus nach als an am dem den des sich man dass mir mich bitte"
    ),
    "fr": (
        "le la les un une des de du et ou mais est sont était je tu il elle nous vous ils mon ma mes ne pas avec pour "
        "dans sur que qui quoi comment où quand pourquoi peut ce cette ces au aux en se sa son ses plus être avoir ai "
        "été puis-je j'ai n'est c'est d'un d'une"
    ),
    "es": (
        "el la los las un una de del y o pero es son era yo tú usted él ella no con para por en que qué cómo dónde "
        "cuándo cuál mi mis su sus se me lo al más muy ya está puedo hay ha he como si sin sobre este esta"
    ),
    "it": (
        "il lo la i gli le un una di del della e o ma è sono era io tu non con per in che cosa come dove quando mio mia "
        "si mi al da ho ha posso più questo"
    ),
    "pt": (
        "o a os as um uma de do da e ou mas é são era eu não com para por em que como onde quando meu minha se me ao no "
        "na mais já está posso este esta"
    ),
    "ru": (
        "и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только мне было вот от меня "
        "еще нет о из ему мой моя это для или где когда почему могу"
    ),
}
STOP = {language: frozenset(words.split()) for language, words in _STOP.items()}
_STOP_WORDS = frozenset().union(*STOP.values())
_LATIN = ("en", "de", "fr", "es", "it", "pt")


@dataclass(frozen=True)
class Named:
    """name: at most NAME_CHARACTERS characters, no two topics' the same. words: what sets the topic apart, best first. language: of most
    of its texts, by script and common words: zh, en, ..., "latin" or "" where it cannot be told.
    """

    name: str
    words: tuple[str, ...]
    language: str


def name_topics(texts: Sequence[str], labels: NDArray[np.int32], counts: NDArray[np.int64] | None = None) -> list[Named]:
    """A name and words for every topic from 0 to the largest label. counts: how often every text is there."""
    return name_levels(texts, [labels], counts)[0]


def name_levels(texts: Sequence[str], levels: Sequence[NDArray[np.int32]], counts: NDArray[np.int64] | None = None) -> list[list[Named]]:
    """As `name_topics`, for several ways to divide the same texts, each of which is read once."""
    chosen = [[_some(np.flatnonzero(labels == topic), counts) for topic in range(int(labels.max(initial=-1)) + 1)] for labels in levels]
    wanted = sorted({int(row) for topics in chosen for rows in topics for row in rows})
    with ThreadPoolExecutor(THREADS) as pool:
        parts = [wanted[at : at + TEXTS] for at in range(0, len(wanted), TEXTS)]
        read = [one for part in pool.map(lambda rows: [_read(texts[row]) for row in rows], parts) for one in part]
    known = dict(zip(wanted, read, strict=True))
    return [_named(texts, topics, known, counts) for topics in chosen]


def _named(
    texts: Sequence[str],
    chosen: list[NDArray[np.int64]],
    known: Mapping[int, tuple[str, list[list[str]]]],
    counts: NDArray[np.int64] | None,
) -> list[Named]:
    read = [[known[int(row)] for row in rows] for rows in chosen]
    languages = [_main(one) for one in read]
    pairs = _new_words(run for one in read for _, runs in one for run in runs)
    used = [
        [
            (_terms(runs, pairs), 1 if counts is None else int(counts[row]))
            for row, (found, runs) in zip(rows, one, strict=True)
            if found == main
        ]
        for rows, one, main in zip(chosen, read, languages, strict=True)
    ]
    scores = _scores(used)
    names: list[Named] = []
    for topic, ranked in enumerate(scores):
        words = _without_parts(ranked)[: 3 * WORDS]
        fallback = texts[chosen[topic][0]] if len(chosen[topic]) else ""
        having = {term: count for term, _, count in ranked}
        naming = [word for word in words if having[word] >= SECOND_SHARE * having[words[0]]]
        names.append(Named(_name(naming, fallback, {named.name for named in names}), tuple(words[:WORDS]), languages[topic]))
    return names


def central(rows: Floats, labels: NDArray[np.int32], centres: Floats, count: int = 3) -> list[list[int]]:
    """For every topic the numbers of the rows nearest to its centre, nearest first."""
    found = []
    for topic, centre in enumerate(centres):
        members = np.flatnonzero(labels == topic)
        near = members[np.argsort(-(rows[members] @ centre), kind="stable")[:count]]
        found.append([int(row) for row in near])
    return found


def _some(rows: NDArray[np.int64], counts: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """At most TEXTS of them: the most frequent, then evenly spread."""
    if len(rows) <= TEXTS:
        return rows
    spread: NDArray[np.int64] = rows[np.linspace(0, len(rows) - 1, TEXTS).astype(int)]
    if counts is None:
        return spread
    often = rows[np.argsort(-counts[rows], kind="stable")[: TEXTS // 10]]
    return np.unique(np.concatenate([often, spread]))


def language(text: str) -> str:
    """zh, ja, ko, ar, ru, th, one of the Latin languages that are known here, "latin" for others, "" for no letters at all."""
    counted = {name: len(found.findall(text)) for name, found in _SCRIPTS}
    if counted["ja"] and counted["ja"] * 4 >= counted["zh"]:
        return "ja"
    counted["zh"] *= 3  # a character says as much as three letters
    script = max(counted, key=lambda name: counted[name])
    if not counted[script]:
        return ""
    if script != "latin":
        return script
    words = set(re.findall(r"[^\W\d_]+", text.lower()))
    hits = {name: len(words & STOP[name]) for name in _LATIN}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else "latin"


def _main(read: Sequence[tuple[str, Any]]) -> str:
    counted = Counter(language for language, _ in read if language)
    if not counted:
        return ""
    known = [name for name, _ in counted.most_common() if name != "latin"]
    return known[0] if known and counted[known[0]] * 3 >= counted.most_common(1)[0][1] else counted.most_common(1)[0][0]


def _read(text: str) -> tuple[str, list[list[str]]]:
    """The language of a text, and its runs of words."""
    plain = unicodedata.normalize("NFKC", text[:TEXT_CHARACTERS])
    return language(plain), list(_runs(_NOISE.sub(" . ", plain)))


def _new_words(runs: Iterable[Sequence[str]]) -> frozenset[tuple[str, str]]:
    """Pieces that the dictionary cuts apart and these texts keep together, such as the name of a product: one of the two, at least, hardly
    comes without the other, and one is a single character.
    """
    single: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for run in runs:
        single.update(run)
        pairs.update(pair for pair in pairwise(run) if min(map(len, pair)) == 1 and all(map(_part_of_word, pair)))
    return frozenset(
        (one, other) for (one, other), count in pairs.items() if count >= NEW_WORD and count >= TOGETHER * min(single[one], single[other])
    )


def _part_of_word(piece: str) -> bool:
    return bool(_HAN.match(piece)) and len(piece) <= 2 and piece not in _STOP_WORDS


def _terms(runs: Sequence[Sequence[str]], pairs: frozenset[tuple[str, str]]) -> list[str]:
    """Words and phrases of a text, each once."""
    terms: dict[str, None] = {}
    for run in runs:
        whole: list[str] = []
        before = ""
        for piece in run:
            if (before, piece) in pairs:
                whole[-1] += piece
                before = ""
            else:
                whole.append(piece)
                before = piece
        for start in range(len(whole)):
            for end in range(start + 1, min(start + LONGEST_PHRASE, len(whole)) + 1):
                words = whole[start:end]
                if _sound(words):
                    terms[_joined(words)] = None
    return list(terms)


def _runs(text: str) -> Iterator[list[str]]:
    """Words that follow one another without a mark or a number between them."""
    import rjieba

    run: list[str] = []
    for piece in _PIECE.findall(text):
        if _HAN.match(piece):
            run += [word for word in rjieba.cut(piece) if word.strip()]
        elif piece[0].isalpha() and len(piece) <= LONGEST_WORD:
            run.append(piece if piece.isupper() and 1 < len(piece) <= 5 else piece.lower())
        elif run:
            yield run
            run = []
    if run:
        yield run


def _sound(words: Sequence[str]) -> bool:
    """Whether words can stand for a topic: none says nothing, and a single character only beside another word."""
    if any(word.lower() in _STOP_WORDS for word in words):
        return False
    return len(words) > 1 or len(words[0]) > 1


def _joined(words: Sequence[str]) -> str:
    """As they are written: Chinese words without blanks."""
    text = words[0]
    for before, after in pairwise(words):
        text += after if _HAN.match(before[-1]) and _HAN.match(after[0]) else f" {after}"
    return text


def _scores(used: Sequence[Sequence[tuple[list[str], int]]]) -> list[list[tuple[str, float, int]]]:
    """For every topic its best terms with their weight and the number of its texts that have them, best first.

    Weight: tf · log(1 + A / f), tf the share of the topic's texts that have the term, f its texts in all topics, A the texts of a topic on
    average.
    """
    by_topic: list[Counter[str]] = []
    for texts in used:
        counter: Counter[str] = Counter()
        for terms, count in texts:
            weight = min(count, 10)  # a text sent ten thousand times is still one way to say it
            for term in terms:
                counter[term] += weight
        by_topic.append(counter)
    total: Counter[str] = Counter()
    for counter in by_topic:
        total.update(counter)
    sizes = [max(sum(min(count, 10) for _, count in texts), 1) for texts in used]
    average = sum(sizes) / max(len(sizes), 1)
    ranked = []
    for counter, size in zip(by_topic, sizes, strict=True):
        least = 2 if size >= 8 else 1
        scored = [(term, n / size * float(np.log1p(average / total[term])), n) for term, n in counter.items() if n >= least]
        ranked.append(sorted(scored, key=lambda one: (-one[1], one[0]))[:200])
    return ranked


def _without_parts(ranked: Sequence[tuple[str, float, int]]) -> list[str]:
    """Terms best first, without those that only repeat another: parts of a phrase that stands for them, and longer phrases."""
    counts = {term: count for term, _, count in ranked}
    stands = {}
    for term, _, count in ranked:
        for other in counts:
            if term != other and _within(other, term) and count >= PHRASE_SHARE * counts[other] and len(term) <= NAME_CHARACTERS:
                stands[other] = term
    words: list[str] = []
    for term, _, _ in ranked:
        while term in stands:
            term = stands[term]
        if term not in words and not any(_within(term, word) or _within(word, term) for word in words):
            words.append(term)
    return words


def _within(part: str, whole: str) -> bool:
    if _HAN.match(part[0]):
        return part in whole
    return f" {part} " in f" {whole} "


def _name(words: Sequence[str], fallback: str, taken: set[str]) -> str:
    """The first word or phrase that fits, with a second where there is room; the beginning of a text where there are no words."""
    fitting = [word for word in words if len(word) <= NAME_CHARACTERS] or [word[:NAME_CHARACTERS] for word in words[:1]]
    tries = []
    if fitting:
        first = fitting[0]
        tries += [f"{first} {other}" for other in fitting[1:4] if len(first) + 1 + len(other) <= NAME_CHARACTERS][:1]
        tries += [first, *(f"{first} {other}" for other in fitting[1:] if len(first) + 1 + len(other) <= NAME_CHARACTERS), *fitting[1:]]
    else:
        tries.append(" ".join(fallback.split())[:NAME_CHARACTERS] or "–")
    for name in tries:
        if name not in taken:
            return name
    return next(name for n in range(2, 10**6) if (name := f"{tries[0][: NAME_CHARACTERS - len(str(n)) - 1]} {n}") not in taken)
