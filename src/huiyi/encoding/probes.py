"""The texts with which encoders are tried, all written here: FEW (8, for start-up checks) and TEXTS (200, to compare two encoders).

Several languages and scripts, one word to several hundred; fixed for good, since stored vectors of FEW prove that two encoders are one.
"""

FEW = (
    "hello",
    "The parcel was handed over at noon, but the box had been opened and one of the two cups was missing.",
    "订单已经付款,什么时候可以发货?",
    "我想把手机号换成新的,旧号码已经停机了,收不到验证码,请问需要准备哪些材料?",
    "¿Puedo devolver los zapatos si ya los he usado una vez?",
    "返金はいつ頃になりますか。",
    "def mean(xs): return sum(xs) / len(xs)  # 3.14, 2,000 €",
    "Заказ приехал вовремя 👍 спасибо!",
)

_THINGS_ZH = ("蓝牙耳机", "电饭煲", "儿童雨鞋", "会员卡", "分期账单", "电子发票", "退货包裹", "登录密码")
_TROUBLES_ZH = (
    "用了不到一周就出问题了",
    "怎么才能换成别的",
    "为什么和页面上写的不一样",
    "能不能晚三天再处理",
    "已经催了两次还是没有人回复",
    "现在还可以取消吗",
    "在哪里能看到进度",
    "帮我转给人工客服",
)
_THINGS_EN = (
    "The desk lamp",
    "My travel card",
    "The winter jacket",
    "This month's invoice",
    "The refund",
    "My account",
    "The courier",
    "The app",
)
_TROUBLES_EN = (
    "stopped working after two days.",
    "shows a different amount than it did yesterday.",
    "never arrived, although the page says it was delivered.",
    "cannot be changed any more, why is that?",
    "was blocked without any message.",
    "should go to another address, please.",
    "looks nothing like the picture.",
    "is exactly what I hoped for, thank you.",
)
_SHORT = (
    *(
        "a",
        "42",
        "?",
        "    two  blanks",
        "谢谢",
        "好的,明白了。",
        "退款",
        "发票抬头写错了",
        "花呗",
        "还款日是几号",
        "OK",
        "naïve café",
        "१२३",
    ),
    *(
        "UPPER CASE",
        "upper case",
        "Ünïcödé",
        "こんにちは",
        "안녕하세요",
        "مرحبا بالعالم",
        "שלום",
        "Bonjour à tous",
        "Guten Tag",
        "xin chào",
        "🙂🙃",
    ),
    *("https://example.org/orders?id=17", "2024-02-30", "A\nB\nC", "1 < 2 && 3 > 2", "not good", "not bad", "<b>bold</b>", "price: 19.90"),
)
_PAIRS_ZH = tuple(f"{thing}{trouble}" for thing in _THINGS_ZH for trouble in _TROUBLES_ZH)
_PAIRS_EN = tuple(f"{thing} {trouble}" for thing in _THINGS_EN for trouble in _TROUBLES_EN)
_LONG = tuple("。".join(_PAIRS_ZH[i : 2 * i + 3]) + "。" for i in range(16)) + tuple(" ".join(_PAIRS_EN[i : 2 * i + 3]) for i in range(16))

TEXTS = FEW + _SHORT + _PAIRS_ZH + _PAIRS_EN + _LONG
