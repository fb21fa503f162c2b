"""Flame graphs: how often each stack was there, as nested bars.

    graph = Graph(stacks, "sort", "99 samples", lambda n: f"{n} samples")
    Path("sort.svg").write_text(svg(graph))

tree   stacks -> calls -> boxes; the hottest functions
svg    a picture that can be searched and zoomed
page   the same in an HTML page, with more around it
"""

from beewire.trace.flame.page import page
from beewire.trace.flame.svg import Graph, svg
from beewire.trace.flame.tree import Stack, hottest

__all__ = ["Graph", "Stack", "hottest", "page", "svg"]
