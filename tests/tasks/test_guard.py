"""What the guard remarks on, and what it lets pass: numbers, negation and names in several languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiyi.tasks.guard import Guard, plain
from huiyi.tasks.quantities import numbers

GUARD = Guard()


def kinds(a: str, b: str, guard: Guard = GUARD) -> list[str]:
    return [remark.kind for remark in guard.remarks(a, b)]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("退款要3天", "退款要5天"),
        ("退款要三天", "退款要五天"),
        ("分6期利息多少", "分十二期利息多少"),
        ("借1万元一天利息多少", "借2万元一天利息多少"),
        ("每月8号还款", "每月18号还款"),
        ("2024-03-05 到账", "2024年3月6日到账"),
        ("周三开会", "周五开会"),
        ("上午10:30 出发", "上午10:45 出发"),
        ("打八折", "打九折"),
        ("refund within 7 days", "refund within 14 days"),
        ("three nights in Rome", "four nights in Rome"),
        ("the meeting is on Monday", "the meeting is on Friday"),
        ("iPhone 12 screen", "iPhone 13 screen"),
        ("entrega en 3 días", "entrega en 5 días"),
        ("التوصيل خلال ٣ أيام", "التوصيل خلال ٥ أيام"),
        ("3 年保修", "3 个月保修"),
    ],
)
def test_numbers_that_differ_are_remarked_on(a: str, b: str) -> None:
    assert kinds(a, b) == ["number"]
    assert kinds(b, a) == ["number"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("借3,000元", "借三千块"),
        ("借1.5万", "借一万五千元"),
        ("二〇二四年三月五日", "2024-03-05"),
        ("百分之五的手续费", "5% 的手续费"),
        ("十二期", "12期"),
        ("我想问一下怎么还款", "请问怎么还款"),
        ("万一忘了怎么办", "要是忘了怎么办"),
        ("twenty five dollars", "25 dollars"),
        ("1st floor", "first floor"),
        ("一个月内还清", "一月内还清"),
        ("苹果5怎么截屏", "苹果手机怎么截屏"),
        ("支付宝怎么登陆", "怎么登录支付宝"),
    ],
)
def test_numbers_that_are_the_same_or_no_numbers_pass(a: str, b: str) -> None:
    assert "number" not in kinds(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("这张卡能用", "这张卡不能用"),
        ("钱已经到账了", "钱还没到账"),
        ("我已绑定银行卡", "我未绑定银行卡"),
        ("收到验证码了", "没有收到验证码"),
        ("有密码", "无密码"),
        ("I can log in", "I cannot log in"),
        ("the parcel arrived", "the parcel has not arrived"),
        ("it works", "it doesn't work"),
        ("an authorized payment", "an unauthorized payment"),
        ("puedo pagar con tarjeta", "no puedo pagar con tarjeta"),
        ("je peux payer", "je ne peux pas payer"),
        ("ich kann zahlen", "ich kann nicht zahlen"),
        ("я могу войти", "я не могу войти"),
        ("ログインできる", "ログインできない"),
        ("أستطيع الدفع", "لا أستطيع الدفع"),
        ("怎么微信里有花呗", "怎么微信里花呗还没有"),
    ],
)
def test_negation_on_one_side_is_remarked_on(a: str, b: str) -> None:
    assert kinds(a, b) == ["negation"]
    assert kinds(b, a) == ["negation"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("能不能提前还款", "可以提前还款吗"),
        ("有没有优惠", "有优惠吗"),
        ("不好意思,怎么退货", "请问怎么退货"),
        ("特别慢", "很慢"),
        ("除了信用卡还有别的方式吗", "除了信用卡还有其他方式吗"),
        ("je ne peux pas payer", "I cannot pay"),
        ("无法登录", "不能登录"),
        ("是否支持退货", "支持退货吗"),
        ("Not only cheap", "cheap"),
        ("额度提了没有", "额度提了吗"),
    ],
)
def test_questions_and_words_that_deny_nothing_pass(a: str, b: str) -> None:
    assert "negation" not in kinds(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("花呗怎么还款", "借呗怎么还款"),
        ("微信怎么绑定银行卡", "支付宝怎么绑定银行卡"),
        ("北京有门店吗", "上海有门店吗"),
        ("flights to Paris in May", "flights to London in May"),
        ("does it run on macOS", "does it run on Ubuntu"),
        ("北京的天气", "南京的天气"),
        ("花呗怎么还款", "怎么还款借呗"),
    ],
)
def test_names_that_differ_are_remarked_on(a: str, b: str) -> None:
    assert kinds(a, b) == ["term"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("怎么还款", "如何还款"),
        ("北京有门店吗", "北京市有门店吗"),
        ("加州的天气", "加利福尼亚州的天气"),
        ("手机怎么充值", "电话怎么充值"),
        ("Great service", "Nice service"),
        ("Kataraina was born here", "born here was Cataraina"),
        ("取消花呗申请", "取消贷款申请"),
        ("为什么没有花呗", "为什么我的支付宝没有这个"),
    ],
)
def test_other_words_and_spellings_pass(a: str, b: str) -> None:
    assert kinds(a, b) == []


def test_a_list_of_terms_knows_names_and_aliases() -> None:
    own = Guard([["Falcon Plus", "F-Plus"], ["Falcon Basic"], ["青鸟"], ["白鸟"]])
    assert kinds("price of falcon plus", "price of falcon basic") == []
    assert kinds("price of falcon plus", "price of falcon basic", own) == ["term"]
    assert kinds("price of Falcon Plus", "price of F-Plus", own) == []
    assert kinds("青鸟怎么开通", "白鸟怎么开通", own) == ["term"]
    assert str(own.remarks("青鸟怎么开通", "白鸟怎么开通")[0]) == "term: 青鸟 / 白鸟"


def test_names_no_dictionary_has_are_learned_from_the_texts() -> None:
    """Both are written here, and stand in no list; the segmenter cuts each into two characters."""
    texts = [f"{name}{rest}" for name in ("岚豹", "岚鲤") for rest in ("怎么开通", "额度多少", "如何关闭", "几时还款", "能退款吗")] * 3
    guard = Guard()
    assert kinds("岚豹怎么开通", "岚鲤怎么开通", guard) == []
    guard.learn(texts)
    assert kinds("岚豹怎么开通", "岚鲤怎么开通", guard) == ["term"]
    assert kinds("岚豹怎么开通", "岚豹如何开通", guard) == []


def test_a_remark_shows_what_is_written() -> None:
    (remark,) = GUARD.remarks("退款要三天", "退款要 5 天")
    assert (remark.left, remark.right) == ("三天", "5 天")


def test_a_guard_that_is_off_says_nothing() -> None:
    assert Guard.off().remarks("3天", "不到5天") == ()


@given(st.integers(1, 99_999), st.sampled_from(["天", "元", "个月", "期"]))
def test_a_number_is_the_same_in_arabic_and_chinese(value: int, unit: str) -> None:
    assert numbers(plain(f"{chinese(value)}{unit}")).keys() == numbers(plain(f"{value}{unit}")).keys()


def chinese(value: int) -> str:
    """As people write it: 10,203 is 一万零二百零三."""
    digits, written, gap = "零一二三四五六七八九", "", False
    for scale, name in ((10_000, "万"), (1_000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, scale)
        if digit:
            written += ("零" if gap else "") + (digits[digit]) + name
        gap = not digit and bool(written)
    return written


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_get_an_answer_that_does_not_depend_on_their_order(a: str, b: str) -> None:
    assert kinds(a, a) == []
    one, other = GUARD.remarks(a, b), GUARD.remarks(b, a)
    assert {remark.kind for remark in one if remark.kind != "term"} == {remark.kind for remark in other if remark.kind != "term"}


def test_a_long_text_takes_no_time() -> None:
    from time import perf_counter

    long = "花呗和借呗的额度是3000元。" * 80_000
    began = perf_counter()
    assert kinds(long, long + "不") == []  # beyond what is looked at
    assert perf_counter() - began < 5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("为什么我的额度不够用", "怎么提高额度"),
        ("换手机号了收不到验证码怎么办", "验证码发到以前的手机号了"),
        ("借款一直失败是什么原因", "为什么总是借不出来"),
        ("昨天晚上12点申请的,什么时候来电话", "一般要等多久才会打电话审核"),
    ],
)
def test_where_all_else_differs_too_nothing_is_remarked_on(a: str, b: str) -> None:
    """Other words for the same: a denial or a number on one side is a part of how it is told."""
    assert kinds(a, b) == []


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("北京的朋友问北京的地铁", "上海的朋友问上海的地铁"),  # the same change in two places is one
        ("日本人喜欢什么", "加拿大人喜欢什么"),  # which the dictionary cuts in two ways
        ("怎么注册QQ", "怎么注册邮箱"),  # a name, and a word that may be one
    ],
)
def test_one_name_for_another_wherever_it_stands(a: str, b: str) -> None:
    assert kinds(a, b) == kinds(b, a) == ["term"]


def test_a_number_ends_where_the_next_begins() -> None:
    assert kinds("借一万一天利息多少", "借1万元一天利息多少") == []
    assert kinds("借一万一天利息多少", "借两万一天利息多少") == ["number"]
