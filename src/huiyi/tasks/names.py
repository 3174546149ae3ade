"""Names in texts: words of Chinese and of alphabets, which of them are names, and whether two texts speak of two of them.

Chinese is cut and tagged by jieba's dictionary, which knows places and organisations; NAMES and `new_names` know what it does not.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, pairwise

from huiyi.tasks.quantities import CALENDAR

Names = tuple[re.Pattern[str], frozenset[str]]  # names in Chinese script; words of other scripts that are names however they are written

# Names that the segmenter's dictionary, which is of 2010, does not hold; `Guard.learn` finds those of a corpus.
NAMES = frozenset(
    [
        "花呗",
        "中国银行",
        "工商银行",
        "农业银行",
        "建设银行",
        "招商银行",
        "交通银行",
        "借呗",
        "余额宝",
        "余利宝",
        "网商贷",
        "微粒贷",
        "备用金",
        "京东白条",
        "白条",
        "金条",
        "有钱花",
        "度小满",
        "微众银行",
        "网商银行",
        "蚂蚁森林",
        "芝麻信用",
        "淘宝",
        "天猫",
        "京东",
        "拼多多",
        "唯品会",
        "美团",
        "饿了么",
        "滴滴",
        "高德",
        "抖音",
        "快手",
        "小红书",
        "微博",
        "微信",
        "钉钉",
        "飞书",
        "支付宝",
        "云闪付",
        "财付通",
        "零钱通",
        "理财通",
        "哔哩哔哩",
        "知乎",
        "豆瓣",
        "百度",
        "腾讯",
        "阿里",
        "网易",
        "华为",
        "小米",
        "苹果",
        "三星",
        "安卓",
        "鸿蒙",
        "顺丰",
        "中通",
        "圆通",
        "申通",
        "韵达",
        "极兔",
        "闲鱼",
        "盒马",
        "携程",
        "飞猪",
        "去哪儿",
        "比亚迪",
        "特斯拉",
        "蔚来",
        "小鹏",
        "信用卡",
        "储蓄卡",
    ]
)
NAME_TAGS = {"ns": "place", "nt": "name", "nz": "name", "nrt": "name", "nrfg": "name", "nr": "person"}  # of jieba's dictionary
NOUN_TAGS = dict.fromkeys(("n", "ng", "ag", "j"), "noun")
ABBREVIATION = 3  # letters at most: QQ is no translation of what stands in its place, Software may be one
CHINESE = re.compile("[\u4e00-\u9fff]")
TOKEN = re.compile(
    r"(?P<chinese>[\u4e00-\u9fff]+)"
    r"|(?P<letters>[^\W\d_\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+(?:[-'&.][^\W\d_\u3040-\u9fff]+)*\d*|\d+[a-zA-Z]+[a-zA-Z0-9]*)"
    r"|(?P<other>\w+?)(?=[\u4e00-\u9fff]|\W|$)"
)
SENTENCE_START = re.compile(r"(?:^|[.!?:。！？：\n])[\s\"“'‘(（]*$")
SAME_NAME = 0.6  # of difflib's ratio: Kataraina and Cataraina are spellings of one
MOST_CHANGES = 1  # places where two texts differ; where more do, a name may be spelled or told another way
LONGEST_SWAP = 3  # words that stand in the place of as many others
MOST_WORDS = 2_000
LEARNED_TEXTS = 50_000
LEARNED_CHARACTERS = 2_000  # of each


@dataclass(frozen=True)
class Word:
    """kind: what sort of a name it is ("known", "name", "place", "person", "letters"); "noun" for what may be one, "" for no name."""

    text: str
    kind: str = ""

    @property
    def named(self) -> bool:
        return self.kind not in ("", "noun")


def words(text: str, names: Names) -> list[Word]:
    """The words of a text; known names are one word each."""
    import rjieba

    known, proper = names
    found: list[Word] = []
    for match in TOKEN.finditer(text):
        if match["letters"]:
            found.append(Word(match[0].casefold(), "letters" if _written_as_name(match, text, proper) else ""))
        elif match["other"]:
            found.append(Word(match[0]))
        else:
            at = 0
            for name in known.finditer(match[0]):
                found += _tagged(rjieba.tag(match[0][at : name.start()]))
                found.append(Word(name[0], "known" if name[0] in NAMES else "name"))
                at = name.end()
            found += _tagged(rjieba.tag(match[0][at:]))
        if len(found) > MOST_WORDS:
            break
    return found


def _tagged(tags: Iterable[tuple[str, str]]) -> list[Word]:
    return [Word(word, (NAME_TAGS | NOUN_TAGS).get(tag, "") if len(word) > 1 else "") for word, tag in tags]


def _written_as_name(match: re.Match[str], text: str, proper: frozenset[str]) -> bool:
    """A capital that no sentence's start explains, capitals inside, or letters with digits."""
    word = match[0]
    if len(word) < 2 or word.casefold() in CALENDAR:
        return False
    mixed = any(map(str.isdigit, word)) or not (word[1:].islower() or not word[1:].isalpha())
    return mixed or word.casefold() in proper or (word[0].isupper() and not SENTENCE_START.search(text[: match.start()]))


def difference(left: list[Word], right: list[Word]) -> tuple[str, str] | None:
    """One name in another's place; of names that are not known only where nothing else changed."""
    texts_left, texts_right = [word.text for word in left], [word.text for word in right]
    if texts_left == texts_right or not any(word.named for word in (*left, *right)):
        return None
    changes = _changes(left, right)
    for one, other in changes:
        if known := known_difference(one, other, texts_left, texts_right):
            return known
    for one, other in changes if len(changes) <= MOST_CHANGES else ():
        for here, there in zip(one, other, strict=True) if len(one) == len(other) <= LONGEST_SWAP else ():
            if _two_names(here, there, alone=len(one) == 1) and here.text not in texts_right and there.text not in texts_left:
                return here.text, there.text
    return None


def known_difference(
    left: Iterable[Word], right: Iterable[Word], texts_left: Collection[str] = (), texts_right: Collection[str] = ()
) -> tuple[str, str] | None:
    """Known names that only the one and only the other has, wherever they stand; without those that stand in the other text's words."""
    one, other = ({word.text for word in side if word.kind == "known"} for side in (left, right))
    one, other = one - other - set(texts_right), other - one - set(texts_left)
    return (", ".join(sorted(one)), ", ".join(sorted(other))) if one and other else None


def _changes(left: list[Word], right: list[Word]) -> list[tuple[tuple[Word, ...], tuple[Word, ...]]]:
    """What stands in the one where something else stands in the other; a change that is made everywhere is one."""
    steps = SequenceMatcher(None, [word.text for word in left], [word.text for word in right], autojunk=False).get_opcodes()
    return list(dict.fromkeys(_bare(tuple(left[i:j]), tuple(right[k:m])) for what, i, j, k, m in steps if what != "equal"))


def _bare(one: tuple[Word, ...], other: tuple[Word, ...]) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Where words were cut in two ways (日本|人, 加拿大人): without the characters that both end or begin with, if names are left."""
    if len(one) == len(other) or not one or not other:
        return one, other
    a, b = ("".join(word.text for word in each) for each in (one, other))
    tail = _equal_at_first(a[::-1], b[::-1])
    a, b = a[: len(a) - tail], b[: len(b) - tail]
    head = _equal_at_first(a, b)
    here, there = _as_name(a[head:]), _as_name(b[head:])
    return ((here,), (there,)) if here and there else (one, other)


def _equal_at_first(one: str, other: str) -> int:
    """How many characters."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _as_name(text: str) -> Word | None:
    import rjieba

    pieces = rjieba.tag(text) if CHINESE.match(text) else []
    return _tagged(pieces)[0] if len(pieces) == 1 and pieces[0][1] in NAME_TAGS else None


def _two_names(one: Word, other: Word, alone: bool) -> bool:
    """Names that are not spellings of one: its part, its letters in their order (加州, 加利福尼亚州), or nearly its letters.

    alone: whether nothing beside them changed; then one of them may be any noun, since the dictionary does not know all names.
    """
    if not one.kind or not other.kind or not (one.named or other.named) or not (alone or (one.named and other.named)):
        return False
    if {one.kind, other.kind} == {"known", "noun"}:  # 取消花呗申请, 取消贷款申请
        return False
    if not (one.named and other.named) and "letters" in (one.kind, other.kind):
        return max(len(word.text) for word in (one, other) if word.kind == "letters") <= ABBREVIATION
    if (one.kind == "letters") != (other.kind == "letters") and "known" not in (one.kind, other.kind):  # 约翰 and John
        return False
    short, long = sorted((one.text, other.text), key=len)
    rest = iter(long)
    if all(letter in rest for letter in short):
        return False
    places = {one.kind, other.kind} <= {"place", "known", "name", "person"} and len(long) <= 4
    return places or SequenceMatcher(None, short, long, autojunk=False).ratio() < SAME_NAME


def new_names(texts: Iterable[str]) -> tuple[set[str], frozenset[str]]:
    """Names that the dictionary lacks, from the first LEARNED_TEXTS of `texts`.

    Of Chinese, two characters that it parts and of which one seldom stands elsewhere; of others, words that always have a capital.
    """
    import rjieba

    single: Counter[str] = Counter()
    double: Counter[tuple[str, str]] = Counter()
    capital: Counter[str] = Counter()
    lower: set[str] = set()
    for text in islice(texts, LEARNED_TEXTS):
        wide = unicodedata.normalize("NFKC", text[:LEARNED_CHARACTERS])
        for match in TOKEN.finditer(wide):
            if match["chinese"]:
                pieces = rjieba.tag(match[0], False)
                single.update(word for word, _ in pieces)
                double.update(
                    (one, other) for (one, first), (other, second) in pairwise(pieces)
                    if len(one) == len(other) == 1 and first not in EMPTY_TAGS and second not in EMPTY_TAGS
                )  # fmt: skip
            elif match["letters"] and len(match[0]) > 1:
                if match[0].islower():
                    lower.add(match[0])
                elif not SENTENCE_START.search(wide[: match.start()]):
                    capital[match[0].casefold()] += 1
    chinese = {one + other for (one, other), count in double.items() if count >= 10 and count >= 0.25 * min(single[one], single[other])}
    return chinese, frozenset(word for word, count in capital.items() if count >= 3 and word not in lower)


EMPTY_TAGS = {"r", "e", "o", "uj", "ul", "uz", "ug", "ud", "uv", "p", "c", "d", "f", "m", "q", "zg", "t", "x"}
