"""Names in texts: words of Chinese and of alphabets, which of them are names, and whether two texts speak of two of them.

Chinese is cut and tagged by jieba's dictionary, which knows places and organisations; NAMES and `new_names` know what it does not.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
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
    """kind: what sort of a name it is ("known", "name", "place", "person", "letters"), "" for none."""

    text: str
    kind: str = ""


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
    return [Word(word, NAME_TAGS.get(tag, "") if len(word) > 1 else "") for word, tag in tags]


def _written_as_name(match: re.Match[str], text: str, proper: frozenset[str]) -> bool:
    """A capital that no sentence's start explains, capitals inside, or letters with digits."""
    word = match[0]
    if len(word) < 2 or word.casefold() in CALENDAR:
        return False
    mixed = any(map(str.isdigit, word)) or not (word[1:].islower() or not word[1:].isalpha())
    return mixed or word.casefold() in proper or (word[0].isupper() and not SENTENCE_START.search(text[: match.start()]))


def difference(left: list[Word], right: list[Word]) -> tuple[str, str] | None:
    """Known names that only the one and only the other has; of other names, one that stands in the other's place."""
    texts_left, texts_right = [word.text for word in left], [word.text for word in right]
    if texts_left == texts_right or not any(word.kind for word in left) or not any(word.kind for word in right):
        return None
    only_left = {word.text for word in left if word.kind == "known"} - set(texts_right)
    only_right = {word.text for word in right if word.kind == "known"} - set(texts_left)
    if only_left and only_right:
        return ", ".join(sorted(only_left)), ", ".join(sorted(only_right))
    changes = [step for step in SequenceMatcher(None, texts_left, texts_right, autojunk=False).get_opcodes() if step[0] != "equal"]
    for what, i, j, k, m in changes if len(changes) <= MOST_CHANGES else ():
        if what == "replace" and j - i == m - k <= LONGEST_SWAP:
            for one, other in zip(left[i:j], right[k:m], strict=True):
                if _two_names(one, other) and one.text not in texts_right and other.text not in texts_left:
                    return one.text, other.text
    return None


def _two_names(one: Word, other: Word) -> bool:
    """Names that are not spellings of one: its part, its letters in their order (加州, 加利福尼亚州), or nearly its letters."""
    if not one.kind or not other.kind:
        return False
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
