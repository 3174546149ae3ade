"""A FAQ bot: an answer, or the nearest questions, for every line typed. python examples/faq_bot.py; huiyi serve --model starter runs."""

import json
import sys
from urllib.request import Request, urlopen

SERVER = (sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:30000/v1") + "/collections"
FAQ = {
    "订单超过48小时未发货怎么办": "请联系客服催单;超过72小时可以取消,款项全额退回。",
    "退款多久能到账": "商家确认之后三到五个工作日,退回原来的付款账户。",
    "怎么申请退货": "签收后七天之内,在订单详情里点申请售后。",
    "如何开具发票": "在订单详情里选择开票,电子发票会发到邮箱。",
    "忘记登录密码怎么办": "在登录页点忘记密码,用手机号重新设置。",
}


def ask(path: str = "", **body: object) -> dict:
    with urlopen(Request(SERVER + path, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)


if "bot" not in [each["name"] for each in ask()["data"]]:
    ask(name="bot")
ask("/bot/records", records=[{"id": text, "text": text, "metadata": {"answer": answer}} for text, answer in FAQ.items()])
for line in filter(None, map(str.strip, sys.stdin)):
    found = ask("/bot/answer", question=line, k=2)  # sure enough or not: learned by huiyi answer --learn, else a default of the model
    near = "、".join(each["text"] for each in found["suggestions"])
    sure = f"({found['confidence']:.2f})"
    print(f"{found['hit']['text']}{sure}:{found['answer']}" if found["answer"] else f"没有找到答案{sure}。您想问的是:{near}", flush=True)
