"""Charts in one HTML file that opens anywhere, offline: Plotly's figures as plain dicts, and the script that draws them in the page itself.

The script is the one that NiceGUI brings for the console (the extra `console`), so nothing is fetched and no second charting library is
installed. Knows nothing of what is drawn. Whatever a figure says is data; what a caller puts into `page` is HTML, made of `escape`d texts.
"""

import json
from collections.abc import Mapping
from html import escape as escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huiyi.errors import MissingExtra

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --quiet: #59636e; --line: #d1d9e0; --accent: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --quiet: #9198a1; --line: #3d444d; --accent: #58a6ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 75rem; color: var(--ink); background: var(--paper);
       font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.quiet { color: var(--quiet); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; } th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 600; } tr { border-bottom: 1px solid var(--line); } .number { text-align: right; }
"""
_DRAW = """
const ink = getComputedStyle(document.body).color, line = getComputedStyle(document.documentElement).getPropertyValue("--line");
for (const place of document.querySelectorAll(".chart")) {
  const figure = JSON.parse(place.querySelector("script").textContent);
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const base = { paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: ink, family: "inherit" },
                 margin: { l: 48, r: 16, t: 32, b: 48 }, autosize: true };
  const layout = { ...base, ...figure.layout };
  for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, ...layout[name] };
  place.textContent = "";
  await Plotly.newPlot(place, figure.data, layout, { responsive: true, displaylogo: false, ...figure.config });
}
document.dispatchEvent(new Event("charts"));
"""


def chart(figure: Mapping[str, Any], height_px: int = 360, label: str = "", name: str = "") -> str:
    """The place of one chart in a page's body.

    figure: `data`, `layout` and `config` as Plotly's documentation describes them; numpy arrays are allowed. label: what it shows, for
    those who cannot see it. name: the element's id, for scripts of the page's own; they start at the document's event "charts".
    """
    data = json.dumps(figure, ensure_ascii=False, default=_plain, allow_nan=False).replace("<", "\\u003c")
    id_ = f' id="{escape(name)}"' if name else ""
    return (
        f'<div class="chart"{id_} role="img" aria-label="{escape(label)}" style="height:{height_px}px">'
        f'<script type="application/json">{data}</script></div>'
    )


def page(title: str, body: str, language: str = "en", style: str = "", script: str = "") -> str:
    """A whole HTML document. body: HTML, with `chart`s in it. style, script: of the page's own, after those of all pages.

    Raises MissingExtra for a page with charts; without charts it needs nothing.
    """
    plotly = f'<script type="module">{_plotly()}</script><script type="module">{_DRAW}</script>' if 'class="chart"' in body else ""
    own = f'<script type="module">{script}</script>' if script else ""
    return (
        f'<!DOCTYPE html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}{style}</style></head><body>{body}{own}{plotly}</body></html>"
    )


def has_charts() -> bool:
    return find_spec("nicegui") is not None


def require_charts() -> Path:
    """Plotly's own file (MIT), found without importing the package around it, which would start a web framework. Raises MissingExtra."""
    found = find_spec("nicegui")
    if found is None:
        raise MissingExtra("A page with charts", "console")
    return Path(next(iter(found.submodule_search_locations or []))) / "elements" / "plotly" / "dist" / "index.js"


def _plotly() -> str:
    return require_charts().read_text("utf-8").replace("</script", "<\\/script")


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as json knows them."""
    return value.tolist()
