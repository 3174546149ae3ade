"""A knowledge base searched by meaning, every step by hand: vectors from a server in OpenAI's protocol, nearest ones from FAISS.

    huiyi serve --model starter --port 30000
    pip install openai faiss-cpu
    python examples/search_by_hand.py [http://127.0.0.1:30000/v1]

examples/search_with_huiyi.py is the same with what huiyi brings. Both find "订单超过48小时未发货怎么办" for "我昨天买的耳机还没发货".
"""

import sys

import faiss
import numpy as np
from openai import OpenAI

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


def search(client: OpenAI, query: str, k: int) -> list[tuple[float, str]]:
    """The k entries of the knowledge base that are nearest to the query: score and text, best first."""
    model = client.models.list().data[0].id

    def embed(texts: list[str]) -> np.ndarray:
        answer = client.embeddings.create(model=model, input=texts)
        return np.array([each.embedding for each in answer.data], dtype=np.float32)

    vectors = embed(KNOWLEDGE)  # of unit length, so that inner products are cosines
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    scores, places = index.search(embed([query]), k)
    return [(float(score), KNOWLEDGE[place]) for score, place in zip(scores[0], places[0], strict=True)]


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:30000/v1"
    client = OpenAI(base_url=url, api_key="none")
    print(QUERY)
    for score, text in search(client, QUERY, k=3):
        print(f"  {score:.2f}  {text}")


if __name__ == "__main__":
    main()
