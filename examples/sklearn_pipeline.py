"""Sort support tickets with scikit-learn: the same Pipeline once on TF-IDF and once on a model's vectors, cross-validated.

python examples/sklearn_pipeline.py MODEL    (a name or folder; default HUIYI_MODEL)
"""

import os
import sys

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline

from huiyi.vectorizer import EmbeddingVectorizer

TICKETS = {
    "refund": """I want my money back. | When is the amount credited to my card? | You still owe me forty euros for the kettle.
        The jacket went back a week ago and nothing has been paid out. | Please reverse the charge. | How long until I am reimbursed?
        I returned it, so where is my cash? | Kindly transfer the price of the broken vase to my account.""",
    "delivery": """Where is my parcel? | The courier never rang the bell. | It was meant to come on Tuesday and now it is Friday.
        Tracking has not moved for six days. | Has the box left the warehouse yet? | My order seems lost on the road.
        Could the driver leave it with a neighbour? | Still waiting for the shipment.""",
    "login": """I forgot my password. | The site says that my account is locked. | No code arrives on my phone when I sign in.
        I cannot get into my profile any more. | Someone changed my credentials. | The reset link has expired.
        After the update I was logged out everywhere. | My username is not recognised.""",
    "invoice": """Please send me a bill with our company's name. | The VAT number on the receipt is wrong.
        I need a document for my tax office. | Where can I download last year's statements? | The bookkeeping asks for proof of purchase.
        Our accountant wants the paperwork as PDF. | The address on the invoice is out of date. | There is no receipt in the mail.""",
    "fault": """The screen stays black. | It stopped charging after two days. | There is a crackling noise in the left earphone.
        The handle broke off when I lifted it. | Water drips from the bottom of the machine. | My lamp flickers all the time.
        The zip is stuck. | It gets so hot that it smells burnt.""",
}
TEXTS, LABELS = zip(
    *((text.strip(), label) for label, lines in TICKETS.items() for text in lines.replace("\n", "|").split("|")), strict=True
)


def accuracy(vectorizer: object) -> float:
    pipeline = Pipeline([("vectors", vectorizer), ("sorter", LogisticRegression(max_iter=1000))])
    return float(np.mean(cross_val_score(pipeline, list(TEXTS), list(LABELS), cv=4)))


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else os.environ["HUIYI_MODEL"]
    print(f"{len(TEXTS)} tickets, {len(TICKETS)} kinds, 4-fold accuracy")
    print(f"TF-IDF              {accuracy(TfidfVectorizer()):.2f}")
    print(f"{model}  {accuracy(EmbeddingVectorizer(model)):.2f}")


if __name__ == "__main__":
    main()
