"""`evaluate data`: what a file of examples holds, before anything is trained or judged on it."""

from pathlib import Path

from huiyi.engines.checkpoint import open_checkpoint
from huiyi.engines.hub import locate
from huiyi.sources.outputs import replacing, require_place
from huiyi.training.inspection import CountTokens, inspected, page_of
from huiyi.training.inspection import DataReport as DataReport
from huiyi.workspace.adapters import tokenizer_of
from huiyi.workspace.examples import Reader


def evaluate_data(
    source: str | Path,
    reader: Reader,
    *,
    evaluation: str | Path | None = None,
    model: str | None = None,
    page: Path | None = None,
    overwrite: bool = False,
) -> DataReport:
    """Balance, repeats, leaks and lengths of the examples in `source`: training data of any kind, or labelled texts.

    evaluation: a file whose examples must not stand in `source`. model: whose tokenizer counts; None counts no tokens. page: the file of
    a report in HTML. The model's weights are not loaded.
    """
    if page:
        require_place(page, overwrite)
    examples = reader.any(source)
    against = reader.any(evaluation) if evaluation is not None else None
    report = inspected(examples, against, token_counter(model) if model else None)
    if page:
        with replacing(page) as partial:
            partial.write_text(page_of(report), "utf-8")
    return report


def token_counter(model: str) -> CountTokens:
    """How many tokens the model of that name or folder reads of each text, special tokens included."""
    tokenizer = tokenizer_of(open_checkpoint(locate(model)))
    return lambda texts: [len(ids) for ids in tokenizer.encode(texts)]
