"""`huiyi demo`: the first minute. A shop's messages through every job, what each found, then the server with the console over them."""

import os
import socket
import sys
import threading
import time
import unicodedata
from typing import TYPE_CHECKING, Annotated

import typer

from huiyi.cli import options, serving
from huiyi.cli.printing import Meter, note, print_json

if TYPE_CHECKING:
    from huiyi.workspace.demonstrating import Demo, FoundTopic

PORT = 30000
BARS = " ▁▂▃▄▅▆▇█"
WIDTH = 40  # columns of a text in a table; a Chinese character takes two
TOPICS = 10
PUBLISHED = "Qwen/Qwen3-Embedding-0.6B"
LANGUAGES = {
    "zh": "Chinese", "en": "English", "es": "Spanish", "ar": "Arabic", "ja": "Japanese", "pt": "Portuguese", "fr": "French",
    "de": "German", "ko": "Korean", "ru": "Russian",
}  # fmt: skip


def demo(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="Name or folder of the model.")] = "starter",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to serve on. [default: 30000, or a free one]", show_default=False)
    ] = None,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Print what was found and end.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Show every job on the messages of an invented shop, offline on the bundled model, and serve them with the console."""
    from huiyi import workspace

    with Meter(interrupted="stopped; start it again, and it goes on") as meter, context.obj.loader(model, precision, threads)() as loaded:
        result = workspace.demo(lambda: loaded, say=note, report=meter)
    if json:
        print_json(result)
    else:
        _print(result)
    if no_serve:
        return
    chosen = _free(PORT) if port is None else port or _free(0)
    if not no_open and _has_desktop():
        threading.Thread(target=_open, args=(chosen,), daemon=True).start()
    serving.serve(model=[model], port=chosen, precision=precision, threads=threads)


def _print(found: "Demo") -> None:
    echo = typer.echo
    gathered, faq, topics, repeats, intents = found.gathered, found.faq, found.topics, found.repeats, found.intents
    languages = ", ".join(f"{LANGUAGES[lang]} {count}" for lang, count in gathered.languages.items())
    what = "looked up from an earlier start" if found.kept else f"{gathered.embedded} texts embedded in {gathered.seconds:.1f} s"
    echo(f"\nAn invented shop: {gathered.messages} messages of {len(topics.weeks)} weeks, and a FAQ of {gathered.entries} entries.")
    echo(languages)
    echo(f"Model: {gathered.model}; {what}; nothing leaves this machine.")

    _title("Search, by words and by meaning: a customer asks the FAQ", f"{faq.asked} test questions in {faq.seconds:.1f} s")
    echo(f"? {faq.question}")
    for place, hit in enumerate(faq.hits, 1):
        echo(f"  {place}. {hit.score:.2f}  {hit.question}")
    if faq.hits:
        echo(f"     → {_cell(faq.hits[0].answer, 100).rstrip()}")
    for mode in faq.first:
        echo(f"  {mode}: {_share(faq.first[mode], faq.asked)} of the questions find their entry first, "
             f"{_share(faq.among_three[mode], faq.asked)} among three")  # fmt: skip

    answers = found.answers
    _title("Answers: where it is sure, else a person", f"learned from {answers.questions} questions in {answers.seconds:.1f} s")
    echo(f"  {answers.problem or f'{answers.answered} of them answered by itself, {answers.right} of those rightly'}")
    for one in answers.examples:
        echo(f"  {_cell(one.question, 24)}  {one.confidence:.2f}  {'answered' if one.answered else 'handed on'}: {one.nearest}")

    learned = found.line
    _title("Similarity: do two texts mean the same?", f"learned from {learned.pairs} labelled pairs in {learned.seconds:.1f} s")
    right = _share(learned.right, learned.pairs)
    echo(f"  {right} of the pairs judged rightly by what the others say; the same from a cosine of {learned.threshold:.2f} on")
    for two in learned.examples:
        echo(f"  {two.score:.2f}  {100 * two.probability:3.0f} % the same: {_cell(two.one, 24)}  {two.other}")

    _title(f"Topics: {len(topics.topics)}, found without being told any", f"{topics.seconds:.1f} s")
    new = topics.topics[topics.new]
    growing = sorted((one for one in topics.topics if one is not new), key=lambda one: -one.rows)[: TOPICS - 1]
    echo(f"   rows  {'week by week':{len(topics.weeks)}}  topic")
    for topic in (new, *growing):
        line = f"  {topic.rows:5}  {_bars(topic.per_week)}  {_cell(topic.name, 24)}  {_cell(topic.example, 54)}{_rising(topic)}"
        echo(line.rstrip())
    if len(topics.topics) > TOPICS:
        echo(f"         … and {len(topics.topics) - TOPICS} more")
    echo("  The first began in the last weeks; the FAQ has no entry for it. "
         f"It holds {topics.inside} of the {topics.planted} messages about it.")  # fmt: skip

    _title(f"Repeats: {repeats.rows - repeats.kept} messages in {repeats.groups} groups", f"{repeats.seconds:.1f} s")
    for pair in repeats.repeats:
        echo(f"  {pair.score:.2f}  {_cell(pair.one, WIDTH)}  {_cell(pair.other, WIDTH)}")
    echo(f"  {repeats.found} of {repeats.planted} planted repeats found, {repeats.merged} of {repeats.traps} traps taken for one. "
         f"Kept apart by the guard: {repeats.apart}")  # fmt: skip
    for pair in repeats.held:
        echo(f"  {pair.score:.2f}  {_cell(pair.one, WIDTH)}  {_cell(pair.other, WIDTH)}  {pair.remark}")

    _title(f"Sorting: {intents.classes} labels learned from {intents.examples} examples", f"{intents.seconds:.1f} s")
    echo(f"  {100 * intents.accuracy:.0f} % of held-out examples right; where it is sure ({100 * intents.coverage:.0f} %), "
         f"{100 * intents.precision:.0f} %")  # fmt: skip
    echo(f"  sure of {intents.sure} messages, {intents.unsure} for a person to look at, {intents.outside} of no label")
    for text in intents.complaints:
        echo(f"  {_cell(text.text, 28)}  {text.label} ({text.probability:.2f})")

    echo("")
    if gathered.unread:
        missing = " and ".join(LANGUAGES[lang] for lang in gathered.unread)
        echo(f"{gathered.model} cannot tell messages in {missing} apart; they are in the collection, and left out of topics and repeats.")
    if gathered.model == "starter":
        echo(f"starter is a small model for demonstration. With the one that huiyi is for: huiyi demo --model {PUBLISHED}")
    echo(f"Tables of all this: {found.folder}; collections: demo-messages, demo-faq; classifier: demo-intents")


def _title(text: str, aside: str) -> None:
    typer.echo(f"\n{text}  ({aside})\n{'-' * _columns(text)}")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def _bars(counts: tuple[int, ...]) -> str:
    """A character for each, as high as its share of the largest."""
    most = max(*counts, 1)
    return "".join(BARS[0 if not count else 1 + (count * (len(BARS) - 2)) // most] for count in counts)


def _rising(topic: "FoundTopic") -> str:
    return f"  ×{topic.trend:.1f}" if topic.trend and topic.trend >= 2 else "  new" if topic.trend is None else ""


def _columns(text: str) -> int:
    """What it takes on a terminal."""
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _cell(text: str, columns: int) -> str:
    """The text on one line, cut or filled up to so many columns."""
    line = " ".join(text.split())
    if _columns(line) > columns:
        while _columns(line) > columns - 1:
            line = line[:-1]
        line += "…"
    return line + " " * (columns - _columns(line))


def _free(port: int) -> int:
    """The port, or another one where something listens there already."""
    for each in (port, 0):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", each))
            except OSError:
                continue
            return int(tried.getsockname()[1])
    return port


def _has_desktop() -> bool:
    shown = any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY")) or sys.platform in ("darwin", "win32")
    return shown and sys.stdout.isatty() and "SSH_CONNECTION" not in os.environ


def _open(port: int) -> None:
    """A browser on the console, once the server takes connections."""
    import webbrowser

    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.2)
        else:
            webbrowser.open(f"http://127.0.0.1:{port}/")
            return
