"""`huiyi train` and `huiyi reproduce`: a model fine-tuned on a file of examples, and a published table computed again."""

import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from huiyi.cli import options
from huiyi.cli.evaluating import roles
from huiyi.cli.printing import Meter, duration, note, print_json, print_table

if TYPE_CHECKING:
    from huiyi.workspace.reproducing import Reproduced
    from huiyi.workspace.training import Step, TrainedModel

app = typer.Typer(name="reproduce", help="Compute a published table again.", no_args_is_help=True)

LINE_EVERY_S = 10.0
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train: auto is a GPU where torch sees one.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"], typer.Option(help="auto is bf16 on GPUs and on CPUs that have it, but fp32 for small models on a CPU.")
]
GoOn = "stopped; give the same command again to go on from here"


def train(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            help="sentence1, sentence2 and label or score; or anchor, positive, negative; or query, positive and maybe negative."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the adapter or model, and the run beside it.")],
    base: Annotated[str | None, typer.Option("--base", metavar="NAME", help="Model to start from. [default: HUIYI_MODEL]")] = None,
    recipe: Annotated[
        Literal["similarity", "pair-classifier", "full"],
        typer.Option(help="similarity: vectors, LoRA. pair-classifier: both texts in one input, LoRA. full: all weights."),
    ] = "similarity",
    eval: Annotated[str | None, typer.Option(metavar="FILE", help="Examples to judge by. [default: a tenth of FILE]")] = None,
    task: Annotated[
        Literal["bi-encoder", "pair-classifier"] | None,
        typer.Option(help="What --recipe full makes. [default: pair-classifier]", show_default=False),
    ] = None,
    loss: Annotated[
        Literal["auto", "cosent", "info-nce"], typer.Option(help="Of bi-encoders: auto is CoSENT for pairs, else InfoNCE.")
    ] = "auto",
    epochs: Annotated[int | None, typer.Option(metavar="N", help="[default: 5, pair-classifier 15, full 3]")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Rows a batch. [default: 64, pair-classifier 128]")] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="X", help="The highest. [default: 5e-4, full 2e-5]")] = None,
    max_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of an input. [default: what 99 of 100 need, pair-classifier 64]")
    ] = None,
    rank: Annotated[int | None, typer.Option(metavar="N", help="Of LoRA. [default: 8]")] = None,
    alpha: Annotated[int | None, typer.Option(metavar="N", help="Of LoRA. [default: 32]")] = None,
    dropout: Annotated[float | None, typer.Option(metavar="X", help="Of LoRA. [default: 0.1]")] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Linear to put LoRA on; may be given more than once. [default: q, k, v]")
    ] = None,
    accumulate: Annotated[int | None, typer.Option(metavar="N", help="Batches a step of the optimizer. [default: 1]")] = None,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Less memory for a third more time.")] = False,
    patience: Annotated[
        int | None, typer.Option(metavar="N", help="Evaluations without a gain after which to stop; 0 never does. [default: 4]")
    ] = None,
    evaluations: Annotated[int | None, typer.Option(metavar="N", help="How often to judge in the whole run. [default: 12]")] = None,
    dimensions: Annotated[
        str | None, typer.Option(metavar="N,…", help="Widths that vectors shall be cut to without much loss (Matryoshka).")
    ] = None,
    instruction: Annotated[str | None, typer.Option(metavar="TASK", help="Task on the query side, for queries with passages.")] = None,
    mine: Annotated[int | None, typer.Option(metavar="N", help="Hard negatives to find for each query before training.")] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="X", help="A negative above the positive by more than X is no negative. [default: 0.1]")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(metavar="X", help="Of cosines in the loss; lower for noisy labels and weak bases. [default: 20]")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: options.Threads = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N steps. [default: all epochs]")] = None,
    keep_leaks: Annotated[bool, typer.Option("--keep-leaks", help="Learn from rows that the judging file holds too.")] = False,
    columns: Annotated[
        str | None, typer.Option(metavar="ROLE=COLUMN,…", help="Columns that have other names, such as sentence1=question,label=same.")
    ] = None,
    format: options.Format = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Fine-tune a model on FILE: an adapter that PEFT loads, or a whole model.

    A run that was stopped or killed goes on where it was when the same command is given again.
    """
    from huiyi.workspace.examples import Reader
    from huiyi.workspace.training import Job, Reports, settings_of, train_file

    settings = settings_of(
        recipe,
        task=task,
        loss=loss,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=max_length,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        targets=tuple(target) if target else None,
        accumulate=accumulate,
        checkpointing=checkpointing,
        patience=patience,
        evaluations=evaluations,
        dimensions=_widths(context, dimensions),
        instruction=instruction,
        mined=mine,
        margin=margin,
        scale=scale,
        seed=seed,
        device=device,
        precision=precision,
        max_steps=max_steps,
    )
    reader = Reader(roles(context, columns), format, encoding, sheet, note)
    job = Job(file, base, out, eval, reader, keep_leaks, threads, force)
    with StepMeter(interrupted=GoOn) as meter:
        result = train_file(job, settings, Reports(note, meter.step))
    if json:
        print_json(result)
    else:
        _print(result)


@app.command()
def afqmc(
    context: typer.Context,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with AFQMC's train and dev files (afqmc_train.tsv, or train.json as CLUE has it).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for rows and adapters; a stopped run goes on from it.")],
    base: Annotated[str, typer.Option("--base", metavar="NAME", help="Embedding model of the table.")] = "Qwen/Qwen3-Embedding-0.6B",
    baseline: Annotated[
        str, typer.Option(metavar="NAME", help="BERT-like model that is fully fine-tuned.")
    ] = "hfl/chinese-roberta-wwm-ext",
    rows: Annotated[str | None, typer.Option(metavar="NAME,…", help="Rows to compute, with commas between. [default: all]")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Of every row that trains. [default: the recipes' own]")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Of every row that trains. [default: the recipes' own]")] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="X", help="Of the LoRA rows. [default: the recipes' own]")] = None,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Less memory for a third more time.")] = False,
    scale: Annotated[
        float | None, typer.Option(metavar="X", help="Of cosines in the loss; lower for noisy labels and weak bases. [default: 20]")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=50, metavar="N", help="Use N train pairs, for a trial. [default: all]")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Majority, TF-IDF, zero-shot, LoRA as bi-encoder and as pair classifier, and a RoBERTa, on AFQMC's official split."""
    from huiyi.workspace.reproducing import ROWS, Plan, reproduce_afqmc
    from huiyi.workspace.training import Reports

    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "scale": scale,
        "checkpointing": checkpointing,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    chosen = tuple(name.strip() for name in rows.split(",")) if rows else ROWS
    plan = Plan(base, baseline, data, out, chosen, tuple(given.items()), limit, threads, force)
    with StepMeter(interrupted=GoOn) as meter:
        result = reproduce_afqmc(plan, Reports(note, meter.step))
    if json:
        print_json(result)
    else:
        _print_table(result)
        note(f"{out}/afqmc.json: the same as JSON; adapters below {out}/runs")


class StepMeter(Meter):
    """Shows every `Step` of a run: a bar on a terminal, else a line now and then."""

    def step(self, step: "Step") -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in list(step.figures.items())[:2])
        rest = f"loss {step.loss:.4f}, {figures}, {step.tokens_per_s:,.0f} tokens/s, {duration(step.seconds_left)} left"
        if sys.stderr.isatty():
            self.draw(step.step, step.steps, rest)
        elif monotonic() - self.since > LINE_EVERY_S:
            self.since = monotonic()
            note(f"step {step.step:,} of {step.steps:,}, {rest}")


def _print(result: "TrainedModel") -> None:
    typer.echo(f"{result.out}: {result.recipe} on {result.base}, {result.rows:,} rows, {result.steps:,} steps, {duration(result.seconds)}")
    head = f", and {result.head:,} of the head" if result.head else ""
    typer.echo(f"trained: {result.trained:,} of {result.parameters:,} numbers ({result.trained / result.parameters:.4%}){head}")
    for name, value in result.after.items():
        typer.echo(f"{name}: {result.before[name]:.4f} before, {value:.4f} after (best step {result.best_step:,})")
    first = next(iter(result.after))
    if result.after[first] <= result.before[first]:
        note(f"training did not raise {first}: more data, another --learning-rate, or the base as it is")
    kind = "huiyi similarity A B --model" if result.recipe == "full" else f"huiyi similarity A B --model {result.base} --adapter"
    typer.echo(f"use it: {kind} {result.out}; see {result.out}/run/curves.html")


def _print_table(result: "Reproduced") -> None:
    from huiyi.workspace.reproducing import table

    found = table(result)
    cells = (["–" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in row.values()] for row in found["rows"])
    print_table(list(found["rows"][0]), cells)
    typer.echo(found["note"])


def _widths(context: typer.Context, dimensions: str | None) -> tuple[int, ...] | None:
    if dimensions is None:
        return None
    try:
        return tuple(int(width) for width in dimensions.split(","))
    except ValueError:
        raise typer.BadParameter("--dimensions takes numbers with commas between, such as 512,256,128", ctx=context) from None
