"""What a classifier is worth, as one page that opens offline: figures of rows held out, what is taken for what, labels likely wrong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from huiyi.charts import chart, escape, page
from huiyi.sources.readers import Cells

if TYPE_CHECKING:
    from huiyi.tasks.classifying import Classifier, Validation


def classifier_page(name: str, about: str, classifier: "Classifier", errors: list[Cells]) -> str:
    """errors: as `classify fit --errors` writes them."""
    found = classifier.validation_
    body = [f"<h1>Classifier {escape(name)}</h1>", f'<p class="quiet">{escape(about)}; {len(classifier.classes_):,} classes.</p>']
    if found is None:
        body.append("<p>Every class has one example: nothing could be held out, so there are no figures.</p>")
        return page(f"Classifier {name}", "".join(body))
    outside = [] if found.outside is None else [("Out of scope, noticed", f"{found.outside:.1%} of the given examples")]
    figures = [
        ("Accuracy", f"{found.accuracy.value:.1%} (95 %: {found.accuracy.low:.1%} to {found.accuracy.high:.1%})"),
        ("Macro F1", f"{found.macro_f1.value:.3f} (95 %: {found.macro_f1.low:.3f} to {found.macro_f1.high:.3f})"),
        ("Always the largest class", f"{found.majority:.1%}"),
        ("Sure of", f"{found.coverage:.1%} of the rows, and right on {found.precision:.1%} of these"),
        ("Taken for in scope", f"{found.scope:.1%}"),
        *outside,
    ]
    body.append(f"<h2>On rows held out</h2><p class=quiet>{found.rows:,} rows, {found.folds} folds, each row held out once.</p><table>")
    body += [f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in figures]
    body += ["</table><h2>What is taken for what</h2>", _confusion(found), "<h2>Classes</h2>", *_class_table(found)]
    body += [f"<h2>Labels that are likely wrong: {len(errors):,}</h2>", *_error_table(errors)]
    return page(f"Classifier {name}", "".join(body))


def _confusion(found: "Validation") -> str:
    """Shares of each true class; classes that are mixed up with others first, at most 40."""
    names = [each.label for each in found.classes]
    rows = found.confusion.sum(axis=1)
    there = np.flatnonzero(rows)
    wrong = 1 - np.diag(found.confusion)[there] / rows[there]
    kept = np.sort(np.argsort(-wrong, kind="stable")[:40])
    shares = (found.confusion[np.ix_(there[kept], there[kept])] / rows[there[kept], None] * 100).round(1)
    labels = [names[i] for i in kept]
    figure = {
        "data": [{"type": "heatmap", "z": shares, "x": labels, "y": labels, "colorscale": "Blues", "zmin": 0, "zmax": 100,
                  "colorbar": {"title": {"text": "% of the row"}}, "hovertemplate": "%{y} taken for %{x}: %{z} %<extra></extra>"}],
        "layout": {"xaxis": {"title": {"text": "taken for"}, "tickangle": -60},
                   "yaxis": {"title": {"text": "labelled"}, "autorange": "reversed"}},
    }  # fmt: skip
    note = f'<p class="quiet">The {len(kept)} classes that are mixed up most, of {len(there)}.</p>' if len(kept) < len(there) else ""
    return note + chart(figure, height_px=240 + 18 * len(kept), label="Share of each class that was taken for each other class")


def _class_table(found: "Validation") -> Iterator[str]:
    yield '<div class="scroll"><table><tr><th>class</th><th class="number">rows</th><th class="number">precision</th>'
    yield '<th class="number">recall</th><th class="number">F1</th></tr>'
    for each in sorted(found.classes, key=lambda each: each.f1):
        precision = "–" if each.precision is None else f"{each.precision:.1%}"
        numbers = (f"{each.rows:,}", precision, f"{each.recall:.1%}", f"{each.f1:.3f}")
        yield f"<tr><td>{escape(each.label)}</td>" + "".join(f'<td class="number">{number}</td>' for number in numbers) + "</tr>"
    yield "</table></div>"


def _error_table(errors: list[Cells]) -> Iterator[str]:
    if not errors:
        yield "<p>None.</p>"
        return
    more = " The first 100; --errors FILE writes all." if len(errors) > 100 else ""
    yield f'<p class="quiet">The other rows would have it the other way.{more}</p>'
    yield '<div class="scroll"><table><tr><th class="number">line</th><th>text</th><th>label</th><th>more likely</th></tr>'
    for each in errors[:100]:
        columns = (str(each["text"])[:300], str(each["label"]), f"{each['suggested']} ({each['probability_suggested']:.0%})")
        yield f'<tr><td class="number">{each["line"]}</td>' + "".join(f"<td>{escape(column)}</td>" for column in columns) + "</tr>"
    yield "</table></div>"
