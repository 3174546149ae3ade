"""Do two texts that are near each other say the same? Numbers, negation and names that differ, told from the texts alone.

Vectors see what a text is about, and so lie close where one character turns it round. A remark is a reason to keep two texts apart; none
is no proof that they are one. Rules, no model: what they know is in docs/dedup.md, what they stop and what they cost in docs/benchmarks.md.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from huiyi.tasks.names import CHINESE, NAMES, Names, Word, known_difference, new_names, words
from huiyi.tasks.names import difference as name_difference
from huiyi.tasks.quantities import LATIN, NUMBER, Number, numbers
from huiyi.tasks.quantities import difference as number_difference

RemarkKind = Literal["number", "negation", "term"]

TEXT_CHARACTERS = 20_000  # of a longer text the rest is not looked at
KEPT_TEXTS = 100_000
SAME_REST = 0.95  # least likeness of what two Chinese texts say beside numbers and denials: where all else differs, so may these
SAME_BESIDE_NAMES = 0.6


@dataclass(frozen=True)
class Remark:
    """What differs: `left` stands in the one text, `right` in the other; "" where one of them has nothing of the kind."""

    kind: RemarkKind
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.left or '–'} / {self.right or '–'}"


class Guard:
    """terms: groups of names; those of a group mean one thing, those of two groups never do."""

    def __init__(self, terms: Iterable[Sequence[str]] = ()) -> None:
        self._terms = {plain(name): group[0] for group in terms for name in group if plain(name)}
        self._listed = _any_of(map(_whole_word, self._terms))
        self._names: Names = (_any_of(NAMES), frozenset())
        self._texts: dict[str, Text] = {}

    @classmethod
    def off(cls) -> "Guard":
        """One that never remarks on anything."""
        return _Silent()

    def learn(self, texts: Iterable[str]) -> None:
        """Take the names that these texts use as words though no dictionary has them; for the rest of this guard's life."""
        chinese, proper = new_names(texts)
        self._names = (_any_of([*NAMES, *chinese]), self._names[1] | proper)
        self._texts.clear()

    def remarks(self, a: str, b: str) -> tuple[Remark, ...]:
        """Why `a` and `b` should not be taken for one text, at most one remark a kind; nothing for texts that are the same."""
        one, other = self._text(a), self._text(b)
        found = []
        if _same(one, other, one.rest, other.rest, SAME_REST):
            found = [number_remark(one, other), negation_remark(one, other)]
        found.append(self._term_remark(one, other))
        return tuple(remark for remark in found if remark)

    def _term_remark(self, one: "Text", other: "Text") -> Remark | None:
        if self._terms:
            left, right = ({self._terms[name] for name in self._listed.findall(each.plain)} for each in (one, other))
            if left != right:
                return Remark("term", ", ".join(sorted(left - right)), ", ".join(sorted(right - left)))
        ways = ((name_difference, SAME_BESIDE_NAMES), (known_difference, SAME_REST))
        for difference, least in ways:
            found = difference(one.words, other.words)
            if found and _same(one, other, one.without(found), other.without(found), least):
                return Remark("term", *found)
        return None

    def _text(self, text: str) -> "Text":
        found = self._texts.get(text)
        if found is None:
            if len(self._texts) >= KEPT_TEXTS:
                self._texts.clear()
            found = self._texts[text] = Text(text, self._names)
        return found


class _Silent(Guard):
    def remarks(self, a: str, b: str) -> tuple[Remark, ...]:
        del a, b
        return ()


def _whole_word(name: str) -> str:
    return rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])" if name.isascii() else re.escape(name)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(set(patterns), key=lambda each: (-len(each), each))
    return re.compile("|".join(longest_first) or r"(?!)")


class Text:
    """What the rules ask of one text, each found when it is first asked for."""

    def __init__(self, text: str, names: Names) -> None:
        self._text = unicodedata.normalize("NFKC", text[:TEXT_CHARACTERS])
        self._names = names
        self.plain = plain(self._text)

    @cached_property
    def numbers(self) -> dict[Number, str]:
        return numbers(self.plain)

    @cached_property
    def negations(self) -> list[str]:
        return negations(self.plain)

    @cached_property
    def chinese(self) -> bool:
        return CHINESE.search(self._text) is not None

    @cached_property
    def rest(self) -> Counter[str]:
        """The characters of what is neither number nor negation nor empty."""
        return Counter(EMPTY.sub("", NEGATIVE.sub("", NUMBER.sub("", NOT_NEGATIVE.sub("", self.plain)))))

    @cached_property
    def words(self) -> list[Word]:
        return words(self._text, self._names)

    def without(self, terms: Sequence[str]) -> Counter[str]:
        """The characters of the words that are neither names nor in `terms`."""
        return Counter(EMPTY.sub("", "".join(word.text for word in self.words if not word.named and word.text not in terms)))


def _same(one: Text, other: Text, rest: Counter[str], other_rest: Counter[str], least: float) -> bool:
    """Whether what is left of the two is so much the same that a difference is one; not asked of other languages."""
    return not (one.chinese and other.chinese) or likeness(rest, other_rest) >= least


def likeness(one: Counter[str], other: Counter[str]) -> float:
    """Dice's coefficient of two bags; 1 where both are empty."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def plain(text: str) -> str:
    """Width and case ignored, traditional numerals and negations as the simplified ones."""
    return unicodedata.normalize("NFKC", text).casefold().translate(SIMPLE).replace("’", "'")


SIMPLE = str.maketrans("兩萬億無沒別點號個週禮歲塊", "两万亿无没别点号个周礼岁块")


def number_remark(one: Text, other: Text) -> Remark | None:
    if one.numbers.keys() == other.numbers.keys():
        return None
    left, right = number_difference(set(one.numbers), set(other.numbers))
    return Remark("number", _shown(left, one), _shown(right, other)) if left or right else None


def _shown(found: set[Number], text: Text) -> str:
    return ", ".join(text.numbers[number] for number in sorted(found))


NOT_NEGATIVE = re.compile(
    # whether or not
    r"(.)[不没]\1|(..)[不没]\2|有没|是否|能否|可否|会否|与否|[不没](?=[啊呢呀]?[?。!,]*$)|(?<![么何还也都就我他她])没有(?=[啊呢呀]?\?*$)"
    # 不, 别, 无, 非, 未 and 没 inside other words
    r"|(?<!看)不见"
    r"|不仅|不但|不过|不管|不断|不好意思|不得不|不得已|差不多|对不起|了不起|不久|不少|不如|不妨|不料|不禁|不由|不论|不只|不止|不单|要不|"
    r"不知不觉|不锈|特别|分别|别人|别的|个别|区别|级别|性别|告别|识别|类别|别墅|辨别|鉴别|判别|别名|别称|派别|离别|差别|别处|不同于|不错|不客气|不辛苦|不知道|不知|不定|不和|非裔|非政府|非营利|不同之处|不同的|不明飞行|不规则|别克|"
    r"无论|无线|无数|无比|无锡|无人机|非常|非洲|除非|是非|非得|未来|没准|没事|没错|否则|不丹|不列颠|不来梅|布莱|无敌|无极|"
    r"\bnot only\b|\bno doubt\b|\bno\. ?\d|\bno matter\b|\bwhether or not\b|\bwhy not\b|\bnot just\b"
)
EMPTY = re.compile(r"[\W_]|已经?|[的了吗呢啊吧呀我你您请问是有还就都也又才很]")
NEGATIVE = re.compile(
    r"[不没未别无非勿甭]|木有|否认|否定|"
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|nowhere|without|cannot|unable|hardly)\b|n't\b|\b(?:dont|cant|wont|didnt|isnt|doesnt|arent)\b|"
    r"\b(?:nunca|jamás|tampoco|ningun[oa]?|ningún|sin|não|nunca|sem|nenhum|nenhuma|ne|n'|pas|jamais|sans|aucune?|rien|nicht|kein\w*|nie|niemals|"
    r"ohne|non|mai|senza|nessun\w*|niet|geen|nooit|bez|inte|ikke|ikkje|aldrig|aldri|değil|yok|không|chưa|đừng|tidak|bukan|jangan|belum|tanpa|nem|ei)\b|"
    r"\b(?:не|ни|нет|без|никогда|нельзя|немає|ніколи|нема)\b|\b(?:لا|ليس|ليست|لم|لن|بدون|غير|ما)\b|\b(?:لیس|نیست|نمی\w*)\b|\b(?:नहीं|मत|न|ना|बिना)\b|"
    r"ない(?![かで])|ません|なく|なかった|ずに|않|못|없|아니|안 |ไม่|\b(?:לא|אין|בלי)\b|\b(?:δεν|μην|όχι|χωρίς)\b"
)
PREFIXED = re.compile(r"(?:un|in|im|ir|il|non|dis)-?")


def negations(text: str) -> list[str]:
    """The words that deny something in a `plain` text, in order; of questions, compounds and set phrases none."""
    return NEGATIVE.findall(NOT_NEGATIVE.sub(" ", text))


def negation_remark(one: Text, other: Text) -> Remark | None:
    """Chinese denials are counted, others are there or not: ne … pas is one. Or a word that only the other's prefix turns round."""
    left_weight, right_weight = _weight(one), _weight(other)
    same_script = one.chinese == other.chinese
    if left_weight != right_weight if same_script else any(left_weight) != any(right_weight):
        return Remark("negation", " ".join(one.negations), " ".join(other.negations))
    left, right = set(LATIN.findall(one.plain)), set(LATIN.findall(other.plain))
    for word in (left ^ right) if left and right else ():
        prefix = PREFIXED.match(word)
        denied = word[prefix.end() :] if prefix else ""
        if len(denied) >= 4 and denied in (left ^ right) and (denied in left) != (word in left):
            return Remark("negation", *((word, denied) if word in left else (denied, word)))
    return None


def _weight(text: Text) -> tuple[int, bool]:
    chinese = sum(CHINESE.match(word) is not None for word in text.negations)
    return chinese, len(text.negations) > chinese
