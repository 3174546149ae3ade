"""`make demo`: vectors, the similarity of pairs and a search, on the bundled model and a small support desk's own sentences.

Runs offline on the starter that the package brings; HUIYI_MODEL names another model.
"""

import os
import time

import numpy as np

import huiyi

PAIRS = [
    ("花呗逾期了会怎么样?", "花呗没有按时还款有什么后果?"),
    ("我的包裹还没有到。", "快递怎么这么久还没收到?"),
    ("我的包裹还没有到。", "怎么修改登录密码?"),
    ("How do I reset my password?", "I forgot my password, how can I change it?"),
    ("How do I reset my password?", "Do you sell gift cards?"),
]

HELP_PAGES = [
    "退款会在收到商品后五个工作日内退回您的账户。",
    "所有商品三十天内可以免费退货。",
    "吊牌还在的衣服可以换尺码。",
    "用发货短信里的单号可以查询快递到哪里了。",
    "包裹十天还没收到,我们会重新寄一件。",
    "下午两点以前的订单当天发货。",
    "修改收货地址,请在包裹发出之前联系客服。",
    "订单打包以前可以取消。",
    "忘记密码时,点登录页面上的链接重新设置。",
    "密码输错五次,账户会锁定一个小时。",
    "在设置里可以注销账户、删除个人数据。",
    "发票可以在订单里下载,也可以补开。",
    "银行卡付款失败,多半是银行要您在手机上确认。",
    "优惠券三年内有效,可以分几次使用。",
    "耳机连不上手机时,长按电源键八秒重新配对。",
    "Refunds reach your account within five working days.",
    "You can send any article back within thirty days, free of charge.",
    "Track your parcel with the number in the dispatch e-mail.",
    "If a parcel has not come after ten days, we send a new one.",
    "Delivery abroad takes between four and nine working days.",
    "To change the delivery address, write to us before the parcel leaves.",
    "An order can be cancelled until it is packed.",
    "Reset your password with the link on the sign-in page.",
    "Close your account under Settings, Privacy, Delete my data.",
    "Invoices can be downloaded from your order history.",
    "When your card is declined, the bank usually wants a confirmation in its app.",
    "Hold the power button for eight seconds to pair the headphones again.",
    "The warranty covers faults in material for two years, but not water damage.",
    "Our support desk answers from eight to six on working days.",
    "We are hiring: send us your application with a short letter.",
]

QUESTIONS = [
    "密码忘了怎么办",
    "耳机连接不了电脑",
    "用银行卡付款总是失败",
    "why was my card not accepted?",
    "the parcel still has not come",
]


def title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def main() -> None:
    name = os.environ.get("HUIYI_MODEL") or "starter"
    began = time.perf_counter()
    model = huiyi.load(name)
    seconds = time.perf_counter() - began
    print(f"Loaded {name} in {seconds:.1f} s; no torch, nothing leaves this machine.")

    vectors = model.encode([PAIRS[0][0]])
    title(f"1. A text becomes {vectors.shape[1]} numbers")
    print(f"{PAIRS[0][0]!r} -> [{', '.join(f'{x:+.3f}' for x in vectors[0, :6])}, ...], length {np.linalg.norm(vectors[0]):.3f}")

    title("2. Texts that mean the same lie close together (cosine: 1 is the same, 0 has nothing in common)")
    left, right = model.encode([a for a, _ in PAIRS]), model.encode([b for _, b in PAIRS])
    for (a, b), score in zip(PAIRS, np.diag(model.similarity(left, right)), strict=True):
        print(f"{score:5.2f} {'#' * max(0, round(20 * float(score))):20}  {a}  |  {b}")

    title(f"3. So a question finds its answer among {len(HELP_PAGES)} help pages")
    began = time.perf_counter()
    pages = model.encode_document(HELP_PAGES)
    seconds = time.perf_counter() - began
    for question, row in zip(QUESTIONS, model.similarity(model.encode_query(QUESTIONS), pages), strict=True):
        print(f"\n? {question}")
        for rank, best in enumerate(np.argsort(-row)[:3], start=1):
            print(f"  {rank}. {row[best]:.2f}  {HELP_PAGES[best]}")
    print(f"\n{len(HELP_PAGES)} pages were embedded in {1000 * seconds:.0f} ms.")


if __name__ == "__main__":
    main()
