"""`huiyi answer`: the record of a collection that answers a question, and how sure that is."""

from typing import TYPE_CHECKING, Annotated

import typer

from huiyi.cli import options
from huiyi.cli.collections import Filter, parsed
from huiyi.cli.printing import excerpt, note, print_json

if TYPE_CHECKING:
    from huiyi.model import Model
    from huiyi.workspace import Answered, Reply


def answer(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What is asked.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Most suggestions beside the answer.")] = 3,
    column: Annotated[
        str | None,
        typer.Option(
            "--answer", metavar="COLUMN", help="Metadata that holds the answers. [default: answer, reply, 答案 and the like; else the text]"
        ),
    ] = None,
    filter: Filter = None,
    learn: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Learn from labelled questions when there is an answer: a table of questions and ids, -1 where nothing answers.",
        ),
    ] = None,
    target_precision: Annotated[
        float, typer.Option(min=0.01, max=0.999, metavar="P", help="With --learn: the share of answers that shall be right.")
    ] = 0.95,
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of --learn with questions. [default: query, question, text]")
    ] = None,
    id: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of --learn with ids. [default: id, passage_id, faq_id]")] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Chat server in OpenAI's protocol that writes a reply from the passages; its key is HUIYI_LLM_KEY."
        ),
    ] = None,
    llm_model: Annotated[str | None, typer.Option(metavar="NAME", help="Model that --llm is asked for.")] = None,
    model: options.Model = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Answer QUESTION from the collection NAME, or say that nothing there answers it; --learn teaches it the difference."""
    from huiyi import workspace

    if (question is None) == (learn is None):
        raise typer.BadParameter("give a question, or a file of labelled ones with --learn", ctx=context)
    if bool(llm) != bool(llm_model):
        raise typer.BadParameter("--llm and --llm-model go together", ctx=context)
    if learn is None and (text or id):
        raise typer.BadParameter("--text and --id are columns of --learn", ctx=context)
    if learn is not None and (llm or filter):
        raise typer.BadParameter("--learn asks all questions of the whole collection; leave out --llm and --filter", ctx=context)

    def load(wanted: str | None) -> "Model":
        return context.obj.loader(model or wanted, precision, threads)()  # type: ignore[no-any-return]

    if learn is not None:
        learned = workspace.answer_learn(name, learn, precision=target_precision, text=text, id=id, column=column, load=load)
        if json:
            print_json(learned)
        else:
            rest = learned.questions - learned.answerable
            typer.echo(
                f"learned from {learned.questions:,} questions, {rest:,} of them without an answer: {name} answers from a confidence of "
                f"{learned.least:.2f} on"
            )
            typer.echo(
                f"by folds: {learned.answered:,} answered, {learned.right / max(1, learned.answered):.1%} of them rightly; "
                f"{learned.right / max(1, learned.answerable):.1%} of the {learned.answerable:,} that have an answer got it"
            )
        return
    writer = workspace.writer(llm, llm_model) if llm and llm_model else None
    found = workspace.answer(name, question or "", k=k, column=column, filter=parsed(filter), writer=writer, load=load)
    if found.hint:
        note(found.hint)
    elif not found.taught:
        note(
            f"{name} has learned nothing from questions of its own: "
            + ("how sure this is, is not known" if found.confidence is None else "from where on to answer is a default of the model")
            + f"; huiyi answer {name} --learn FILE makes it better"
        )
    if json:
        print_json(found)
    else:
        _print(found)


def _print(found: "Answered") -> None:
    sure = "" if found.confidence is None else f" (confidence {found.confidence:.2f}, answers from {found.least:.2f})"
    if found.answer is None:
        typer.echo(f"no match{sure}")
    elif found.reply is not None:
        _print_reply(found.reply)
        return
    else:
        assert found.hit is not None
        typer.echo(f"[1] {found.hit.text}{sure}")
        if found.answer != found.hit.text:
            typer.echo(found.answer)
    if found.suggestions:
        typer.echo("\nnearest:" if found.answer is None else "\nalso near:")
    for number, hit in enumerate(found.suggestions, 1 if found.answer is None else 2):
        typer.echo(f"[{number}] {excerpt(hit.text, 200)}")


def _print_reply(reply: "Reply") -> None:
    typer.echo(reply.text)
    typer.echo("")
    for number, passage in enumerate(reply.passages, 1):
        typer.echo(f"[{number}]{'*' if number in reply.cited else ' '} {excerpt(passage, 200)}")
    if reply.unknown:
        numbers = ", ".join(f"[{number}]" for number in reply.unknown)
        note(f"the reply cites {numbers}, and there are {len(reply.passages)} passages: do not trust what stands there")
    elif not reply.cited:
        note("the reply cites none of the passages: nothing shows that it comes from them")
