"""Rerankers by name or folder, made ready to score texts for a query."""

from collections.abc import Callable

import numpy as np

from huiyi.encoding.pairing import bare
from huiyi.encoding.reranker import Reranker, YesNoReranker
from huiyi.encoding.tokenizer import Tokenizer
from huiyi.engines import devices
from huiyi.engines.heads import answer_head, classifier_head, open_reranker
from huiyi.engines.hub import locate
from huiyi.errors import ModelFailed, UnsupportedModel
from huiyi.workspace.adapters import template_for, tokenizer_of

PROBE = ("Where is my parcel?", ("Track your parcel with the number in the e-mail.", "We are hiring a cook.", "密码忘了可以重新设置。"))


def load_reranker(
    name_or_path: str,
    precision: str = "auto",
    threads: int | None = None,
    *,
    max_tokens: int | None = None,
    offline: bool = False,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Reranker:
    """A `Reranker`; close it. max_tokens: of query and text together, by default what the folder states.

    Raises InvalidInput for an embedding model, UnsupportedModel for a folder that is no reranker, ModelFailed when its scores tell nothing
    apart, and what `locate` raises.
    """
    path = locate(name_or_path, offline=offline)
    folder = open_reranker(path, name_or_path)
    checkpoint = folder.checkpoint.up_to(max_tokens)
    tokenizer = tokenizer_of(checkpoint)
    head = (
        classifier_head(checkpoint) if folder.has_label else answer_head(checkpoint, *(folder.answers or answers(tokenizer, name_or_path)))
    )
    engine = devices.start(checkpoint, precision, threads, device)
    if checkpoint.family == "qwen3":
        made: Reranker = YesNoReranker(name_or_path, tokenizer, engine, head=head, space=checkpoint.digest)
    else:
        template = template_for(checkpoint, tokenizer, token_types=True)
        made = Reranker(name_or_path, tokenizer, engine, template=template, head=head, space=checkpoint.digest)
    say(f"{name_or_path} in {engine.precision}: looking at its scores")
    query, texts = PROBE
    scores = made.relevance(query, texts)
    if np.ptp(scores) == 0:
        made.close()
        raise ModelFailed(f"{name_or_path} gives every text the same score: its head is not one of a reranker")
    return made


def answers(tokenizer: Tokenizer, name: str) -> tuple[int, int]:
    """The ids of yes and no."""
    rows = bare(tokenizer, ["yes", "no"])
    if any(len(row) != 1 for row in rows):
        raise UnsupportedModel(f"{name}: yes and no are not one token each, so this model cannot be asked whether a text answers a query")
    return int(rows[0][0]), int(rows[1][0])
