"""Sorting by a few examples: `Classifier` on vectors against TF-IDF and logistic regression, 4, 8, 16 and all examples a class.

    python benchmarks/bench_classify.py

Data is read from HUIYI_TEST_DATA or ../shared/data (intents/). English on all-MiniLM-L6-v2, Chinese on the starter. Examples are the first
of each class in the training file; smp2019, which has no split, is halved by lot. Every choice (threshold, temperature, limit of scope)
is made on the examples; the test rows are only counted. Expected before the first run: ahead of TF-IDF everywhere, most at 4.
"""

import gzip
import os
import sys
from pathlib import Path

import numpy as np
from checkpoint import REPOSITORY
from measure import write

SETS = {
    "banking77": ("banking77_train", "banking77_test", "label", "minilm"),
    "clinc150": ("clinc150_train", "clinc150_test", "label", "minilm"),
    "smp2019": ("smp2019_nlu", None, "label", "starter"),
    "KUAKE-QIC": ("kuake_qic_train", "kuake_qic_dev", "label", "starter"),
}
SHOTS = (4, 8, 16, None)
OUTSIDE = "oos"
LANGUAGES = {
    "es": "¿Dónde está mi paquete?|Mi pedido todavía no ha llegado|Quiero que me devuelvan el dinero|¿Cómo pido un reembolso?|"
    "He olvidado mi contraseña|No puedo entrar en mi cuenta|¿Cuánto cuesta el envío?|¿Cuál es el precio de este producto?",
    "ar": "أين طردي؟|لم يصل طلبي بعد|أريد استرداد أموالي|كيف أطلب استرداد المبلغ؟|نسيت كلمة المرور|لا أستطيع الدخول إلى حسابي|"
    "كم تكلفة الشحن؟|ما سعر هذا المنتج؟",
    "zh": "我的包裹在哪里？|我的订单还没有到|我要退款|怎么申请退款？|我忘记密码了|我登录不了账号|运费多少钱？|这个商品什么价格？",
}
TRUTH = np.repeat(["delivery", "refund", "login", "price"], 2)
EXAMPLES = {
    "delivery": ["where is my parcel", "my order has not arrived yet", "when will the package be delivered", "track my shipment"],
    "refund": ["I want my money back", "how do I get a refund", "please return the payment", "refund this purchase"],
    "login": ["I forgot my password", "I cannot sign in to my account", "reset my password", "my account is locked"],
    "price": ["how much does it cost", "what is the price of this item", "how much is shipping", "is there a cheaper one"],
}


def main() -> None:
    import huiyi
    from conftest import minilm_folder

    models = {"minilm": huiyi.load(str(minilm_folder())), "starter": huiyi.load("starter")}
    rows = [row for name in SETS for row in set_rows(name, models)]
    settings = {"classes": "77, 150, 29, 11", "precision asked for": 0.95}
    write("classify", "Sorting by examples: vectors against TF-IDF, accuracy on test rows", rows, settings, NOTE)
    write(
        "classify_languages",
        "Labels in English, texts in other languages",
        language_rows(models),
        {"examples": 16, "texts": 8},
        LANGUAGES_NOTE,
    )


NOTE = (
    "Accuracy and macro F1 in percent; TF-IDF is of words and pairs of them (of one to three characters in Chinese) with the same logistic "
    "regression. Sure of: share of the test rows above the threshold that was chosen on the examples for 95 % precision; right: of those. "
    "clinc150 has 1,000 test rows of no class beside: AUROC of telling them by the cosine to the nearest class's centre, and the share "
    "noticed and falsely noticed at the limit that was chosen on the examples alone."
)
LANGUAGES_NOTE = (
    "16 English examples of four classes, two sentences a class in each language, all written for this. MiniLM knows English, the starter "
    "Chinese: what they cannot is left standing; chance is 0.25."
)


def read(name: str) -> tuple[list[str], np.ndarray]:
    data = Path(os.environ.get("HUIYI_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    with gzip.open(data / "intents" / f"{name}.tsv.gz", "rt", encoding="utf-8") as stream:
        columns = next(stream).rstrip("\n").split("\t")
        lines = [line.rstrip("\n").split("\t") for line in stream]
    return [line[columns.index("text")] for line in lines], np.array([line[columns.index("label")] for line in lines])


def set_rows(name: str, models: dict) -> list[dict]:
    from sklearn.metrics import f1_score, roc_auc_score

    from huiyi.tasks import Classifier

    train, test, _, model = SETS[name]
    texts, labels = read(train)
    if test is None:
        order = np.random.default_rng(0).permutation(len(texts))
        tests, truth = [texts[i] for i in order[::2]], labels[order[::2]]
        texts, labels = [texts[i] for i in order[1::2]], labels[order[1::2]]
    else:
        tests, truth = read(test)
    inside, kept = truth != OUTSIDE, labels != OUTSIDE
    vectors, test_vectors = embed(models[model], texts), embed(models[model], tests)
    rows = []
    for shots in SHOTS:
        chosen = np.concatenate([np.flatnonzero((labels == each) & kept)[:shots] for each in np.unique(labels[kept])])
        classifier = Classifier().fit(vectors[chosen], labels[chosen])
        decided = classifier.decide(test_vectors)
        right = decided.best == truth
        plain = tfidf(texts, tests, chosen, labels, chinese=model == "starter")
        row = {
            "set": f"{name} ({'MiniLM' if model == 'minilm' else 'starter'})",
            "a class": shots or "all",
            "examples": len(chosen),
            "accuracy": percent(right[inside].mean()),
            "TF-IDF": percent((plain == truth)[inside].mean()),
            "macro F1": percent(f1_score(truth[inside], decided.best[inside], average="macro", zero_division=0)),
            "TF-IDF F1": percent(f1_score(truth[inside], plain[inside], average="macro", zero_division=0)),
            "sure of": percent(decided.sure[inside].mean()),
            "right": percent(right[inside & decided.sure].mean()) if (inside & decided.sure).any() else None,
        }
        if not inside.all():
            near = (test_vectors @ classifier.centres_.T).max(axis=1)
            row |= {
                "AUROC": round(roc_auc_score(inside, near), 3),
                "noticed": percent(1 - decided.in_scope[~inside].mean()),
                "falsely": percent(1 - decided.in_scope[inside].mean()),
            }
        else:
            row |= {"AUROC": None, "noticed": None, "falsely": None}
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return rows


def embed(model, texts: list[str]) -> np.ndarray:
    return model.encode(texts)


def tfidf(texts: list[str], tests: list[str], chosen: np.ndarray, labels: np.ndarray, chinese: bool) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    how = {"analyzer": "char", "ngram_range": (1, 3)} if chinese else {"ngram_range": (1, 2), "token_pattern": r"\b\w+\b"}
    maker = TfidfVectorizer(sublinear_tf=True, **how)
    features = maker.fit_transform([texts[i] for i in chosen])
    with threadpool_limits(1):
        model = LogisticRegression(C=10, tol=1e-3, max_iter=300).fit(features, labels[chosen])
    return model.predict(maker.transform(tests))


def language_rows(models: dict) -> list[dict]:
    from huiyi.tasks import Classifier

    rows = []
    for name, model in models.items():
        examples = [text for label in EXAMPLES for text in EXAMPLES[label]]
        classifier = Classifier().fit(embed(model, examples), np.repeat(list(EXAMPLES), 4))
        row = {"model": "MiniLM" if name == "minilm" else name}
        for language, texts in LANGUAGES.items():
            row[language] = round(float((classifier.predict(embed(model, texts.split("|"))) == TRUTH).mean()), 2)
        rows.append(row)
        print(row, file=sys.stderr)
    return rows


def percent(share: float) -> float:
    return round(100 * float(share), 1)


if __name__ == "__main__":
    main()
