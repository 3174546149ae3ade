"""The options that commands share, each defined once."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def page_with_charts(value: Path | None) -> Path | None:
    """For options that name such a page: refuses before the work what could not be written after it."""
    if value is not None:
        from huiyi.charts import require_charts

        require_charts()
    return value


Model = Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="Name or folder of the model. [default: HUIYI_MODEL]")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    typer.Option(help="Numbers to compute with: auto is bf16 where the CPU has it, else fp32; int8 is faster and a little less exact."),
]
Threads = Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads. [default: all]")]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="Where to compute: cpu, or cuda (cuda:1, ...), which needs huiyi[torch]. [default: HUIYI_DEVICE, else cpu]"
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Longest text that the model reads, as far as it has positions. [default: the model's own]"),
]
Offline = Annotated[bool, typer.Option("--offline", help="Refuse a model that is not on this machine instead of downloading it.")]
Adapter = Annotated[str | None, typer.Option(metavar="DIR", help="Adapter to put on the model, as `huiyi train` or PEFT wrote it.")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Embed on all machines of a Ray cluster: HOST:PORT, auto for the one this machine is in, local for this machine alone.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")]
Truncate = Annotated[
    Literal["end", "start", "none"], typer.Option(help="Side where a text that is too long for the model is cut; none refuses it.")
]
Text = Annotated[
    str | None,
    typer.Option(
        "--text", metavar="COLUMN", help="Column that holds the text. [default: the only one, or text, question, sentence, content]"
    ),
]
Format = Annotated[
    Literal["txt", "csv", "tsv", "jsonl", "xlsx", "parquet"] | None,
    typer.Option(help="Format of the file, where its name does not tell. [default for standard input: txt]", show_default=False),
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Encoding of the file. [default: told from its bytes: UTF-8, UTF-16, else GB18030]")
]
Sheet = Annotated[str | None, typer.Option(metavar="NAME", help="Sheet of an xlsx file. [default: the first]")]
