"""A flame graph as one HTML file: the graph, a search, and the hottest functions."""

from html import escape

from beewire.trace.flame.svg import Graph, asset, colour, svg
from beewire.trace.flame.tree import Hot, hottest

_LEGEND = (
    ("u0", "program and libraries"),
    ("k0", "kernel"),
    ("j0", "compiled in the process"),
    ("n", "no symbols"),
    ("p", "process"),
)
_ROWS = 25


def page(graph: Graph, notes: tuple[str, ...] = ()) -> str:
    """The page; `notes` are sentences on what the profile lacks, and why."""
    total = sum(graph.stacks.values())
    rows = "".join(_row(hot, total, graph) for hot in hottest(graph.stacks, _ROWS))
    return _PAGE.format(
        title=escape(graph.title),
        subtitle=escape(graph.subtitle),
        style=asset("flame.css") + asset("page.css"),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes),
        legend="".join(_swatch(kind, text) for kind, text in _LEGEND),
        graph=svg(graph, alone=False),
        rows=rows,
        script=asset("flame.js") + asset("page.js"),
    )


def _swatch(kind: str, text: str) -> str:
    return (
        f'<span class="kind"><svg class="{kind}" width="12" height="12">'
        f'<rect width="12" height="12" rx="2"/></svg>{text}</span>'
    )


def _row(hot: Hot, total: int, graph: Graph) -> str:
    own, whole = (100 * value / total if total else 0 for value in (hot.own, hot.total))
    return (
        f'<tr><td class="name"><svg class="{colour(hot.frame)}" width="9" height="9">'
        f'<rect width="9" height="9" rx="2"/></svg>{escape(hot.frame.label)}</td>'
        f'<td class="module">{escape(_where(hot))}</td>'
        f'<td class="number" title="{escape(graph.show(hot.own))}">{own:.1f} %</td>'
        f'<td class="bar"><i style="width:{own:.2f}%"></i></td>'
        f'<td class="number" title="{escape(graph.show(hot.total))}">{whole:.1f} %</td>'
        f"</tr>\n"
    )


def _where(hot: Hot) -> str:
    return hot.frame.module or ("kernel" if hot.frame.kind == "kernel" else "")


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<div><h1>{title}</h1><p class="faint">{subtitle}</p></div>
<div class="tools">
<span id="matched" class="faint" aria-live="polite"></span>
<button id="reset" type="button" hidden>Reset zoom</button>
<input id="search" type="search" placeholder="Search functions ( / )" aria-label="Search functions" spellcheck="false">
<button id="turn" type="button" title="Upside down" aria-label="Upside down">⇅</button>
<button id="theme" type="button" title="Light or dark" aria-label="Light or dark">◐</button>
</div>
</header>
<ul class="notes">{notes}</ul>
<main>
<div class="graph">{graph}</div>
<p id="details" class="details" aria-live="off"></p>
<p class="legend">{legend}</p>
<h2>Hottest functions</h2>
<table>
<thead><tr><th>function</th><th>in</th><th class="number">own</th><th class="bar"></th><th class="number">with calls</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</main>
<script>
{script}</script>
</body>
</html>
"""
