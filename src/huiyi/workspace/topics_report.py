"""Topics as one HTML page that opens from disk with the network off: a map to hover and click, and what every topic is about.

Made of a result and a place for every text; reads no files and knows no models. English and Chinese.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from huiyi.charts import chart, escape, page
from huiyi.types import Floats

if TYPE_CHECKING:
    from huiyi.workspace.clustering import ClusteredFile, Topic

HOVER_CHARACTERS = 100
# Tableau's ten and ten lighter ones; neighbours in size differ in colour, which is all that colour says here.
COLORS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#b07aa1", "#edc948", "#9c755f", "#ff9da7", "#86bcb6",
    "#1f77b4", "#d37295", "#8cd17d", "#b6992d", "#499894", "#d4a6c8", "#f1ce63", "#a0cbe8", "#fabfd2", "#79706e",
)  # fmt: skip
OUTSIDE = "#9aa0a6"

WORDS = {
    "en": {
        "title": "Topics of {source}", "rows": "rows", "topics": "topics", "outliers": "rows in no topic", "empty": "rows without text",
        "undated": "rows without a date", "distinct": "different texts", "map": "Map", "all": "Show all",
        "map_help": "Texts that lie near each other are alike; the axes mean nothing. "
        "Hover to read a text, click it or a topic to see that topic alone.",
        "list": "Topics, largest first", "find": "Find a topic by name or word", "texts": "rows", "words": "Words",
        "examples": "Most central texts", "stability": "found again in samples: {value} %", "new": "new", "known": "known",
        "trend": "{value} × as large a share in the later half", "per": "rows per {period}",
        "day": "day", "week": "week", "month": "month", "year": "year", "about": "How", "none": "in no topic",
        "levels": "Levels, fine to coarse (topics)", "recall": "of true neighbours found",
    },
    "zh": {
        "title": "{source} 的主题", "rows": "行", "topics": "个主题", "outliers": "行不属于任何主题", "empty": "行没有文本",
        "undated": "行没有日期", "distinct": "条不同文本", "map": "地图", "all": "显示全部",
        "map_help": "位置相近的文本意思相近，坐标轴本身没有含义。悬停可读原文，点击文本或主题只看该主题。",
        "list": "主题（从大到小）", "find": "按名称或关键词查找主题", "texts": "行", "words": "关键词",
        "examples": "最有代表性的文本", "stability": "抽样重现度 {value} %", "new": "新增", "known": "已有",
        "trend": "后半段占比是前半段的 {value} 倍", "per": "每{period}行数",
        "day": "天", "week": "周", "month": "月", "year": "年", "about": "方法", "none": "不属于任何主题",
        "levels": "层级，从细到粗（主题数）", "recall": "的真实近邻被找到",
    },
}  # fmt: skip

_STYLE = """
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1rem 0; }
.facts b { font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.picked { min-height: 3.2em; border-left: 3px solid var(--line); padding-left: .75rem; margin: .5rem 0; }
.topic { border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; } .topic h3 { margin: 0; font-size: 1.05rem; }
.topic.on { outline: 2px solid var(--accent); }
.list { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
.topic button, #all { font: inherit; color: var(--accent); background: none; border: 0; padding: 0; cursor: pointer; text-align: left; }
.dot { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .4em; } .topic p { margin: .35rem 0; }
.topic ul { margin: .35rem 0; padding-left: 1.1rem; }
.mark { font-size: .8rem; border: 1px solid; border-radius: 1em; padding: 0 .5em; margin-left: .4em; }
.spark { width: 100%; height: 36px; display: block; } .ends { display: flex; justify-content: space-between; font-size: .8rem; }
#find { font: inherit; width: min(100%, 24rem); padding: .4rem .6rem;
  color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 6px; }
"""

_SCRIPT = """
const map = document.getElementById("map"), picked = document.querySelector(".picked"), cards = [...document.querySelectorAll(".topic")];
const names = JSON.parse(document.getElementById("names").textContent), outside = document.getElementById("names").dataset.none;
let on = null, drawn = false;
function label() {
  if (!drawn) return;
  const box = map._fullLayout, taken = [], shown = [];
  for (const [topic, name, x, y] of names) {
    if (on !== null && topic !== on) continue;
    const px = box.xaxis.l2p(x), py = box.yaxis.l2p(y), h = 18;
    const w = [...name].reduce((sum, c) => sum + (c.charCodeAt(0) > 255 ? 13 : 7.5), 8);
    const spot = [px - w / 2, py - h / 2, px + w / 2, py + h / 2];
    if (spot[0] < 0 || spot[1] < 0 || spot[2] > box.xaxis._length || spot[3] > box.yaxis._length) continue;
    if (taken.some(o => spot[0] < o[2] && spot[2] > o[0] && spot[1] < o[3] && spot[3] > o[1])) continue;
    taken.push(spot);
    shown.push({ x, y, text: name.replace(/&/g, "&amp;").replace(/</g, "&lt;"), showarrow: false, font: { size: 12 }, captureevents: false,
                 bgcolor: getComputedStyle(document.body).backgroundColor, opacity: .85, borderpad: 1 });
    if (shown.length >= 60) break;
  }
  Plotly.relayout(map, { annotations: shown });
}
function pick(topic) {
  on = on === topic ? null : topic;
  const traces = map.data.map((t, i) => i);
  const colors = map.data.map(t => t.customdata.map(c => on === null || c === on ? 1 : .06));
  Plotly.restyle(map, { "marker.opacity": colors }, traces).then(label);
  for (const card of cards) card.classList.toggle("on", Number(card.dataset.topic) === on);
}
document.addEventListener("charts", () => {
  drawn = true; label();
  map.on("plotly_click", event => {
    const point = event.points[0], topic = point.customdata, entry = names.find(n => n[0] === topic);
    picked.textContent = (entry ? entry[1] : outside) + ": " + point.text;
    if (on !== topic) pick(topic);
  });
  let last = 0;
  map.on("plotly_relayout", change => { if (!("annotations" in change)) { clearTimeout(last); last = setTimeout(label, 120); } });
  addEventListener("resize", () => { clearTimeout(last); last = setTimeout(label, 300); });
});
document.getElementById("all").addEventListener("click", () => { if (on !== null) pick(on); picked.textContent = ""; });
for (const card of cards) card.querySelector("button").addEventListener("click", () => {
  pick(Number(card.dataset.topic)); if (on !== null) map.scrollIntoView({ behavior: "smooth", block: "nearest" }); });
document.getElementById("find").addEventListener("input", event => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const card of cards) card.hidden = wanted && !card.textContent.toLowerCase().includes(wanted);
});
"""


def report_page(
    result: "ClusteredFile",
    place: Floats,
    labels: NDArray[np.int32],
    counts: NDArray[np.int64],
    texts: Sequence[str],
    language: Literal["en", "zh"],
) -> str:
    """The whole page. place: float32 [n, 2]; labels, counts, texts: of the n different texts, counts being how often each is there."""
    say = WORDS[language]
    title = say["title"].format(source=result.source.split(":")[0])
    facts = [
        (result.rows, say["rows"]),
        (len(result.topics), say["topics"]),
        (result.outliers, say["outliers"]),
        (result.distinct, say["distinct"]),
    ]
    facts += [(result.empty, say["empty"])] if result.empty else []
    facts += [(result.undated, say["undated"])] if result.undated else []
    body = "".join(
        [
            f"<h1>{escape(title)}</h1>",
            '<div class="facts">' + "".join(f"<span><b>{value:,}</b> {escape(unit)}</span>" for value, unit in facts) + "</div>",
            f"<h2>{say['map']}</h2><p class=quiet>{say['map_help']}</p>",
            chart(_figure(place, labels, counts, texts), 620, say["map"], "map"),
            f'<p class="picked"></p><p><button id="all">{say["all"]}</button></p>',
            f'<h2>{say["list"]}</h2><p><input id="find" type="search" placeholder="{say["find"]}" aria-label="{say["find"]}"></p>',
            '<div class="list">' + "".join(_card(topic, result, say) for topic in result.topics) + "</div>",
            f"<h2>{say['about']}</h2><p>{escape(result.about)}; {result.model}; {100 * result.recall:.1f} % {say['recall']}. "
            f"{say['levels']}: {', '.join(map(str, result.levels))}.</p>",
            _names(result, place, labels, say),
        ]
    )
    return page(title, body, language, _STYLE, _SCRIPT)


def _figure(place: Floats, labels: NDArray[np.int32], counts: NDArray[np.int64], texts: Sequence[str]) -> dict[str, Any]:
    """One trace, so that a hundred thousand points are one draw call; larger points for texts that are there more often."""
    short = [" ".join(text[: 2 * HOVER_CHARACTERS].split()) for text in texts]
    size = 3.0 if len(texts) > 20_000 else 5.0 if len(texts) > 2_000 else 7.0
    data = {
        "type": "scattergl",
        "mode": "markers",
        "x": place[:, 0].astype(float).round(2),
        "y": place[:, 1].astype(float).round(2),
        "text": [escape(text if len(text) <= HOVER_CHARACTERS else text[: HOVER_CHARACTERS - 1] + "…") for text in short],
        "customdata": labels,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": [COLORS[label % len(COLORS)] if label >= 0 else OUTSIDE for label in labels.tolist()],
            "size": (size * np.minimum(1 + np.log10(np.maximum(counts, 1)), 3)).round(1),
            "line": {"width": 0},
        },
    }
    axis = {"visible": False, "showgrid": False, "zeroline": False}
    layout = {
        "xaxis": axis, "yaxis": {**axis, "scaleanchor": "x"}, "hovermode": "closest", "dragmode": "pan", "showlegend": False,
        "margin": {"l": 4, "r": 4, "t": 32, "b": 4},
    }  # fmt: skip
    return {
        "data": [data],
        "layout": layout,
        "config": {"scrollZoom": True, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]},
    }


def _names(result: "ClusteredFile", place: Floats, labels: NDArray[np.int32], say: dict[str, str]) -> str:
    """Where the name of every topic stands: at the text nearest to the median of its texts, which may lie in two clouds."""
    entries = []
    for topic in result.topics:
        own = place[labels == topic.topic]
        middle = np.median(own, axis=0)
        x, y = own[np.linalg.norm(own - middle, axis=1).argmin()]
        entries.append([topic.topic, topic.name, round(float(x), 2), round(float(y), 2)])
    data = json.dumps(entries, ensure_ascii=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="names" data-none="{escape(say["none"])}">{data}</script>'


def _card(topic: "Topic", result: "ClusteredFile", say: dict[str, str]) -> str:
    mark = f'<span class="mark">{say[topic.status]}</span>' if topic.status else ""
    lines = [f"{topic.rows:,} {say['texts']} ({100 * topic.share:.1f} %)"]
    lines += [] if topic.stability is None else [say["stability"].format(value=f"{100 * topic.stability:.0f}")]
    lines += [] if topic.trend is None else [say["trend"].format(value=f"{topic.trend:.1f}")]
    examples = "".join(f"<li>{escape(' '.join(text.split())[:160])}</li>" for text in topic.examples)
    return (
        f'<section class="topic" data-topic="{topic.topic}"><h3><button><span class="dot" '
        f'style="background:{COLORS[topic.topic % len(COLORS)]}"></span>{escape(topic.name)}</button>{mark}</h3>'
        f'<p class="quiet">{escape(" · ".join(lines))}</p><p>{say["words"]}: {escape(", ".join(topic.words))}</p>'
        f"{_spark(topic, result, say)}<p>{say['examples']}:</p><ul>{examples}</ul></section>"
    )


def _spark(topic: "Topic", result: "ClusteredFile", say: dict[str, str]) -> str:
    """Rows in every period as bars, with the largest and both ends written."""
    if not topic.per_period:
        return ""
    most = max(topic.per_period) or 1
    width = 100 / len(topic.per_period)
    bars = "".join(
        f'<rect x="{place * width:.2f}" y="{36 - 36 * rows / most:.1f}" width="{width * 0.85:.2f}" height="{36 * rows / most:.1f}"/>'
        for place, rows in enumerate(topic.per_period)
    )
    unit = say["per"].format(period=say[result.period])
    return (
        f'<svg class="spark" viewBox="0 0 100 36" preserveAspectRatio="none" role="img" aria-label="{escape(unit)}" '
        f'fill="{COLORS[topic.topic % len(COLORS)]}">{bars}</svg><div class="ends quiet"><span>{result.periods[0]}</span>'
        f"<span>≤ {most:,} {escape(unit)}</span><span>{result.periods[-1]}</span></div>"
    )
