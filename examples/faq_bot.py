"""A FAQ bot: an answer, or the nearest questions, for every line typed. python examples/faq_bot.py; huiyi serve --model starter runs."""

import json
import sys
import urllib.request

SERVER = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:30000/v1"
SURE = 0.55  # a cosine; huiyi answer learns from labelled questions from where on to answer
FAQ = {
    "订单超过48小时未发货怎么办": "请联系客服催单;超过72小时可以取消,款项全额退回。",
    "退款多久能到账": "商家确认之后三到五个工作日,退回原来的付款账户。",
    "怎么申请退货": "签收后七天之内,在订单详情里点申请售后。",
    "如何开具发票": "在订单详情里选择开票,电子发票会发到邮箱。",
    "忘记登录密码怎么办": "在登录页点忘记密码,用手机号重新设置。",
}


def scores(question: str) -> list[tuple[float, str]]:
    """Every question of the FAQ with how well it fits, best first."""
    body = json.dumps({"query": question, "documents": list(FAQ)}).encode()
    request = urllib.request.Request(f"{SERVER}/rerank", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [(each["relevance_score"], list(FAQ)[each["index"]]) for each in json.load(answer)["results"]]


for line in filter(None, map(str.strip, sys.stdin)):
    (best, match), *others = scores(line)
    near = "、".join(other for _, other in [(best, match), *others][:2])
    print(f"{match}({best:.2f}):{FAQ[match]}" if best >= SURE else f"没有找到答案({best:.2f})。您想问的是:{near}", flush=True)
