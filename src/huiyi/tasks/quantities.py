"""Numbers in texts, with what they count: 3,000 元, 3千元 and 三千块 are one, 二〇二四年三月五日 and 2024-03-05 are the same three.

Arabic digits of any script, Chinese numerals, English number words, percent, dates, times, days of the week. What is written with a
numeral and counts nothing (万一, 一下, 三星) is none. Texts come in the guard's plain form.
"""

import re

Number = tuple[float, str]  # a value and its unit, "" without one

DIGITS = {character: value for value, characters in enumerate(("零〇", "一", "二两", "三", "四", "五", "六", "七", "八", "九"))
          for character in characters}  # fmt: skip
SCALES = {"十": 10, "百": 100, "佰": 100, "千": 1000, "万": 10**4, "亿": 10**8}
UNITS = {
    "元": "块钱 元钱 元 块 圆 rmb yuan dollars dollar usd 美元 美金",
    "年": "周年 年代 年 years year yrs",
    "个月": "个月 months month",
    "月": "月份 月",
    "日": "天 日 days day",
    "号": "号",
    "周": "周 星期 礼拜 weeks week",
    "时": "点钟 点 时 o'clock",
    "小时": "个小时 小时 个钟头 钟头 hours hour hrs hr",
    "分": "分钟 分 minutes minute mins min",
    "秒": "秒钟 秒 seconds secs sec",
    "岁": "岁 years old",
    "千克": "公斤 千克 kg kilograms kilogram kilos kilo",
    "克": "克 grams gram g",
    "斤": "斤",
    "公里": "公里 千米 km kilometers kilometres kilometer kilometre",
    "米": "米 meters metres meter metre m",
    "厘米": "厘米 公分 cm",
    "英里": "英里 miles mile",
    "度": "度 degrees degree ℃ °c °",
    "%": "% percent 个点",
    "折": "折",
    "期": "期",
    "次": "次 回 times",
    "倍": "倍",
    "楼": "楼 层 floors floor",
    "gb": "gb g",
    "mb": "mb",
    "个": "个 位 名 人 条 张 台 件 份 本 家 只 辆 支 种 套 笔 瓶 杯 盒 部 项 级 寸 集 章 页 行 代 届 户 口 people persons items",
}
UNIT_OF = {word: unit for unit, words in UNITS.items() for word in words.split(" ") if word}
MEASURES = set(UNITS) - {"个", "次", "期", "度", "周", "号"}  # the others count, or are left out as often as not
_UNIT = "|".join(sorted(map(re.escape, UNIT_OF), key=len, reverse=True))
_ARABIC = r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?"
_CHINESE = f"[{''.join(DIGITS)}{''.join(SCALES)}]+"
NUMBER = re.compile(
    rf"(?P<date>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})(?!\d)"
    rf"|(?<!\d)(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?!\d)"
    rf"|(?:(?P<century>\d{{1,2}}|{_CHINESE})世纪)(?:(?P<decade>\d0|{_CHINESE})年代)?"
    rf"|(?P<percent>百分之)(?P<of>{_ARABIC}|{_CHINESE})"
    rf"|(?P<weekday>周|星期|礼拜)(?P<dayname>[一二三四五六日天1-7])"
    rf"|(?P<arabic>{_ARABIC})(?P<scale>[十百千万亿]+|(?:k|w)(?![a-z]))?(?P<rest>半)?"
    rf" ?(?P<unit>(?:{_UNIT})(?![a-z])|(?<=\d)(?:st|nd|rd|th)\b)?"
    rf"|(?P<ordinal>第)?(?P<chinese>{_CHINESE}|半)(?P<more>半)?(?P<chinese_unit>{_UNIT})?"
)
# what is written with a numeral and counts nothing
IDIOMS = re.compile(
    r"(?<![一二两三四五六七八九十百千\d])万一(?![千百十])|一一|千万(?=[别不要记])|万万|十分(?!钟)|一点(?![钟半一二三四五六七八九十])|一[下样直起定般些旦切致再律并会共向面边旁时]|"
    "统一|唯一|(?<!分)之一|万分(?!之)|同一|单一|第一时间|一言|三番|四处|十字|十佳|五元组|三角|四边形|三明|四周|七夕|八卦|百度|百科|千问|万能|万达|万科|三星|四川|三亚|九江|六安|五菱|双十一|"
    "不[一二三]|乱七八糟|一心一意|二维|二手|二次元|三国|三农|五险一金|三只松鼠|五金|六神|七匹狼|七天无理由"
)
APART = re.compile("(?<=[百千万亿])(?=一[天日月年个])|[日月年](?=利|息)")  # 一万|一天, 一万|月息
ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS = {word: value for value, word in enumerate(ONES.split())} | {word: 10 * tens for tens, word in enumerate(TENS.split(), 2)}
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
ORDINALS = {word: value for value, word in enumerate(_ORDINALS.split(), 1)}
BIG = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
CALENDAR = {
    name: (float(value), unit)
    for unit, names in (
        ("weekday", "monday tuesday wednesday thursday friday saturday sunday"),
        ("月", "january february march april - june july august september october november december"),
    )
    for value, name in enumerate(names.split(), 1)
    if name not in ("-", "march")
}
LATIN = re.compile(r"[a-z]+")


def numbers(text: str) -> dict[Number, str]:
    """The numbers of a `plain` text with their units, and how they are written; 3,000 元, 3千元 and 三千块 are one."""
    found: dict[Number, str] = {}
    for match in NUMBER.finditer(APART.sub(" ", IDIOMS.sub(" ", text))):
        for number in _parsed(match):
            found.setdefault(number, match[0].strip())
    for number, word in _spelled(text):
        found.setdefault(number, word)
    return found


def _parsed(match: re.Match[str]) -> list[Number]:
    if match["date"]:
        return [(float(match[part]), unit) for part, unit in (("date", "年"), ("month", "月"), ("day", "日"))]
    if match["hour"]:
        return [(float(match["hour"]), "时"), *([(float(match["minute"]), "分")] if int(match["minute"]) else [])]
    if match["century"]:  # 19世纪30年代 and 1830年代 are one
        years = 100 * (_value(match["century"]) - 1) + (_value(match["decade"]) if match["decade"] else 0)
        return [(years, "年" if match["decade"] else "世纪")]
    if match["percent"]:
        return [(_value(match["of"]), "%")]
    if match["weekday"]:
        return [("一二三四五六日".find(match["dayname"].replace("天", "日")) + 1.0 or float(_value(match["dayname"])), "weekday")]
    if match["arabic"]:
        value = float(match["arabic"].replace(",", "")) * _scale(match["scale"] or "")
        unit = match["unit"] or ""
        return [(value + 0.5 * bool(match["rest"]), "第" if unit in ("st", "nd", "rd", "th") else UNIT_OF.get(unit, ""))]
    numeral, unit = match["chinese"], match["chinese_unit"]
    if not (match["ordinal"] or unit or (len(numeral) > 1 and numeral not in ("零一",))):
        return []  # 一 and 两 alone count nothing, nor does 三 in a name
    if numeral == "半":
        return [(0.5, UNIT_OF[unit])] if unit else []
    value = _value(numeral)
    return [(value + 0.5 * bool(match["more"]), "第" if match["ordinal"] else UNIT_OF.get(unit or "", ""))]


def _scale(characters: str) -> float:
    scale = 1.0
    for character in characters:
        scale *= {"k": 1000, "w": 10**4}.get(character) or SCALES[character]
    return scale


def _value(numeral: str) -> float:
    """Of 123, 1.5, 一百二十三, 一万二, 二〇二四."""
    if numeral[0] not in DIGITS and numeral[0] not in SCALES:
        return float(numeral.replace(",", ""))
    if not any(character in SCALES for character in numeral):
        return float("".join(str(DIGITS[character]) for character in numeral))
    total = section = digit = 0.0
    last = 1
    for character in numeral:
        if character in DIGITS:
            digit = DIGITS[character]
            if not digit:
                last = 10  # 一百零五 is 105, 一百五 is 150
            continue
        last = SCALES[character]
        if last >= 10**4:
            total, section, digit = (total + section + digit or 1) * last, 0, 0
        else:
            section, digit = section + (digit or 1) * last, 0
    return total + section + digit * (last // 10 if digit and last > 10 and numeral[-2] in SCALES else 1)


def _spelled(text: str) -> list[tuple[Number, str]]:
    """English number words, ordinals, days and months. "one" and "second" have too many other meanings."""
    found: list[tuple[Number, str]] = []
    value: float | None = None
    spelled: list[str] = []
    for word in [*LATIN.findall(text), ""]:
        if word in WORDS and (word != "one" or value is not None):
            value = (value or 0) + WORDS[word]
        elif word in BIG and (value is not None or word == "dozen"):
            value = (value or 1) * BIG[word]
        elif word != "and" or value is None:
            if value is not None:
                unit = UNIT_OF.get(word, "")
                found.append(((value, unit), " ".join([*spelled, *([word] if unit else [])])))
                value, spelled = None, []
            if word in CALENDAR:
                found.append((CALENDAR[word], word))
            elif word in ORDINALS and word != "second":
                found.append(((float(ORDINALS[word]), "第"), word))
        if value is not None:
            spelled.append(word)
    return found


def difference(one: set[Number], other: set[Number]) -> tuple[set[Number], set[Number]]:
    """A value that only the one has, or one value that measures two things. A one counts only against another number of its unit."""
    left, right = _without(one, other), _without(other, one)
    left, right = _counting(left, right), _counting(right, left)
    if not (left and right):  # 苹果 5 and 苹果 may be one; 5 天 and nothing are not
        left, right = ({number for number in each if number[1] in MEASURES} for each in (left, right))
    return left, right


def _without(numbers: set[Number], others: set[Number]) -> set[Number]:
    """Those that `others` lacks: no such value there, or only where both measure, and with other units."""
    lacking = set()
    for value, unit in numbers:
        units = {each for same, each in others if same == value}
        if not units or (unit in MEASURES and units <= MEASURES and unit not in units):
            lacking.add((value, unit))
    return lacking


def _counting(numbers: set[Number], others: set[Number]) -> set[Number]:
    units = {unit for _, unit in others}
    return {(value, unit) for value, unit in numbers if value != 1 or unit in units}
