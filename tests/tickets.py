"""A collection to try pages of long work on: five kinds of messages with dates and labels, twins, a trap for the guard, and markup."""

KINDS = {
    "refund": ("I want a refund for order {n}", "my money was not returned for order {n}", "退款什么时候到账,订单 {n}"),
    "delivery": ("where is my parcel {n}", "the courier lost parcel {n}", "快递 {n} 还没到"),
    "login": ("I cannot log in to account {n}", "account {n} is locked", "账号 {n} 登录不了"),
    "花呗": ("花呗账单 {n} 对不上", "花呗怎么提前还款 {n}", "花呗利息怎么算 {n}"),
    "app": ("the app crashes on start {n}", "the app freezes on page {n}", "升级后闪退 {n}"),
}
EVIL = "<script>document.title='broken in'</script> I want a refund <b>now</b>"
YOUNG = "2026-05-01"  # from when on there are messages of the app


def rows() -> list[dict[str, str]]:
    found = []
    for kind, texts in KINDS.items():
        for n in range(12):
            day = f"2026-05-{n + 1:02d}" if kind == "app" else f"2026-0{1 + n % 4}-{n + 1:02d}"
            found.append({"id": f"{kind}-{n}", "text": texts[n % 3].format(n=300 + 17 * n), "label": kind, "when": day})
    found.append({"id": "evil", "text": EVIL, "label": "refund", "when": "2026-02-02"})
    found.append({"id": "twin", "text": found[0]["text"].upper(), "label": "refund", "when": "2026-02-02"})
    found.append({"id": "bare", "text": "my parcel is still not here", "label": "", "when": "2026-03-03"})
    return found
