"""The search of examples/search_by_hand.py with what huiyi brings: kept on disk, in step with its texts, words beside meaning.

    python examples/search_with_huiyi.py [MODEL]

No server is needed. MODEL: name or folder, default HUIYI_MODEL, else the bundled starter.
"""

import os
import sys

import huiyi

KNOWLEDGE = [
    "订单超过48小时未发货怎么办",
    "如何申请退货退款",
    "耳机无法连接手机怎么办",
    "发票可以补开吗",
    "怎么修改收货地址",
    "忘记密码如何找回",
    "优惠券为什么用不了",
]
QUERY = "我昨天买的耳机还没发货"


def main() -> None:
    model = huiyi.load(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HUIYI_MODEL") or "starter")
    with huiyi.open("shop-help", model=model) as shop:
        done = shop.add({"id": str(number), "text": text} for number, text in enumerate(KNOWLEDGE))
        print(f"{done.embedded} texts embedded; those that were there already are not embedded again")
        print(QUERY)
        for hit in shop.search(QUERY, k=3, mode="semantic"):
            print(f"  {hit.score:.2f}  {hit.text}")


if __name__ == "__main__":
    main()
