"""`huiyi model`: get a model, see which are there, what one is, and whether its vectors are right."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from huiyi.cli import options
from huiyi.cli.printing import note, print_json

if TYPE_CHECKING:
    from huiyi.workspace import CheckedModel

VERDICT = {True: "ok", False: "FAILED", None: "-"}

app = typer.Typer(help="Get a model, and see what it is and whether its vectors are right.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Name or folder of the model. [default: HUIYI_MODEL]", show_default=False)
]


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model on the hub, owner/name.")],
    hub: Annotated[
        Literal["hf", "modelscope"] | None, typer.Option("--from", help="Hub to ask. [default: HUIYI_HUB, else hf]", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit.")] = None,
    json: options.Json = False,
) -> None:
    """Download a model, or what is new of it. An interrupted download goes on where it was."""
    from huiyi import workspace

    known = workspace.model_pull(name, hub, revision)
    if json:
        print_json(known)
    else:
        typer.echo(f"{known.name}: {known.size_bytes / 1e6:,.0f} MB in {known.path}")


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the models that were downloaded."""
    from huiyi import workspace

    known = workspace.model_list()
    if json:
        print_json(known)
        return
    if not known.models:
        note("no model was downloaded yet: huiyi model pull NAME")
    for model in known.models:
        revision = f" {model.revision}" if model.revision else ""
        typer.echo(f"{model.name}{revision} ({model.hub}): {model.size_bytes / 1e6:,.0f} MB in {model.path}")


@app.command()
def info(name: Name = None, offline: options.Offline = False, json: options.Json = False) -> None:
    """Show what a model is: shape, parameters, lengths, prompts, licence."""
    from huiyi import workspace

    found = workspace.model_info(name, offline=offline)
    if json:
        print_json(found)
        return
    weights = ", ".join(f"{size:,} MB in {precision}" for precision, size in found.weights_mb.items())
    lines = {
        "name": found.name,
        "folder": found.path,
        "family": f"{found.family}, {found.task}",
        "parameters": f"{found.parameters:,} in {found.layers} layers; {weights}",
        "vector": f"{found.dim} numbers, can be cut to {found.dimensions}",
        "pooling": f"{found.pooling}{', unit length' if found.normalizes else ''}",
        "text": f"up to {found.max_tokens:,} tokens, {found.longest_tokens:,} at most",
        **{f"prompt {name!r}": repr(prompt) for name, prompt in found.prompts.items()},
        "licence": found.licence or "not stated",
        "space": found.space,
        "here": f"{found.precision} on {found.threads} threads",
    }
    width = max(map(len, lines))
    for label, value in lines.items():
        typer.echo(f"{label:{width}}  {value}")


@app.command()
def check(
    name: Name = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    device: options.Device = None,
    offline: options.Offline = False,
    adapter: options.Adapter = None,
    json: options.Json = False,
) -> None:
    """Check that a model's vectors are what its folder means; exit code 1 if not.

    With --precision int8 or bf16, or with --device, they are compared with fp32 on the CPU, too, over 200 texts. The published values of
    Qwen3-Embedding-0.6B bind where the weights file is the published one. With --adapter the model's vectors are judged with it, and held
    in fp32 against those of the base with the adapter in its weights.
    """
    from huiyi import workspace

    checked = workspace.model_check(name, precision, threads, offline=offline, adapter=adapter, device=device, say=note)
    if json:
        print_json(checked)
    else:
        typer.echo("\n".join(_lines(checked)))
    if not checked.ok:
        wrong = [each.name for each in checked.checks if each.ok is False] or ["too far from fp32, which bf16 or fp32 itself would not be"]
        note(f"{checked.name} in {checked.precision} fails: {', '.join(wrong)}")
        raise typer.Exit(1)


@app.command()
def merge(
    name: Annotated[str, typer.Argument(metavar="BASE", help="Name or folder of the model that the adapter was trained on.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Folder of the adapter, as `huiyi train` or PEFT wrote it.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Model folder to write; must not be there.")],
    threads: options.Threads = None,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Write a model folder with the adapter in the weights: like any other, and as fast and large as its base.

    Before it appears, its vectors are compared with those of the adapter on its base.
    """
    from huiyi import workspace

    merged = workspace.model_merge(name, adapter, out, threads, offline=offline, say=note)
    if json:
        print_json(merged)
    else:
        changed = f"{merged.changed} matrices changed, vectors as with the adapter (cosine {merged.same:.6f})"
        typer.echo(f"{merged.output}: {merged.base} with {merged.adapter}; {changed}, {merged.seconds:.1f} s")


def _lines(checked: "CheckedModel") -> Iterator[str]:
    for check in checked.checks:
        value = "" if check.value is None else f"{check.value:.6g} ({check.limit})"
        yield f"{VERDICT[check.ok]:6}  {check.name:21} {'  '.join(filter(None, (value, check.note)))}".rstrip()
    if found := checked.comparison:
        beside = f"{checked.precision} beside fp32"
        mean = f"{found.mean_cosine:.6g} in the mean of {found.texts} texts (>= {found.limit})"
        yield f"{VERDICT[found.ok]:6}  {beside:21} {mean}; {found.same_nearest:.1%} keep their nearest neighbour; furthest off:"
        for text, cosine in found.worst:
            yield f"        {cosine:.4f}  {' '.join(text.split())[:60]}"
