import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from beewire.symbols import Frame
from beewire.trace.flame import Graph, Stack, hottest, page, svg
from beewire.trace.flame.svg import colour, fitting
from beewire.trace.flame.tree import boxes, tree

GOLDEN = Path(__file__).parent / "small.svg"
NAMESPACE = {"s": "http://www.w3.org/2000/svg"}

PROCESS = Frame("app", "", "process")
MAIN = Frame("main", "app", "user")
WORK = Frame("work<int>", "app", "user")
MALLOC = Frame("malloc", "libc.so.6", "user")
READ = Frame("vfs_read", "", "kernel")
JIT = Frame("py::run", "[jit]", "jit")
NAMELESS = Frame("", "libfoo.so", "unknown")

STACKS: dict[Stack, int] = {
    (PROCESS, MAIN): 5,
    (PROCESS, MAIN, WORK): 40,
    (PROCESS, MAIN, WORK, MALLOC): 30,
    (PROCESS, MAIN, READ): 15,
    (PROCESS, JIT): 8,
    (PROCESS, NAMELESS): 2,
}


def graph(stacks: dict[Stack, int] = STACKS) -> Graph:
    return Graph(stacks, "On-CPU: app & co", "100 samples", lambda n: f"{n} samples")


def test_a_call_has_all_that_it_calls_within_itself() -> None:
    [app] = tree(STACKS).calls.values()
    main = app.calls[MAIN]

    assert (app.total, main.total, main.own) == (100, 90, 5)
    assert main.calls[WORK].total == 70


def test_calls_lie_side_by_side_in_the_order_of_their_names() -> None:
    drawn = {box.call.frame.label: box for box in boxes(tree(STACKS))}

    rows = {name: (box.depth, box.start, box.total) for name, box in drawn.items()}
    assert rows == {
        "all": (0, 0, 100),
        "app": (1, 0, 100),
        "[libfoo.so]": (2, 0, 2),
        "main": (2, 2, 90),
        "vfs_read": (3, 2, 15),
        "work<int>": (3, 17, 70),
        "malloc": (4, 17, 30),
        "py::run": (2, 92, 8),
    }


def test_thin_calls_are_left_out_and_the_rest_stays_where_it_was() -> None:
    drawn = {box.call.frame.label: box.start for box in boxes(tree(STACKS), 9)}

    assert drawn == {
        "all": 0,
        "app": 0,
        "main": 2,
        "vfs_read": 2,
        "work<int>": 17,
        "malloc": 17,
    }


def test_the_hottest_functions_are_those_with_the_most_of_their_own() -> None:
    found = [(hot.frame.label, hot.own, hot.total) for hot in hottest(STACKS, 3)]

    assert found == [("work<int>", 40, 70), ("malloc", 30, 30), ("vfs_read", 15, 15)]


def test_a_recursive_function_counts_once_a_stack() -> None:
    [hot] = hottest({(MAIN, MAIN, MAIN): 4}, 5)

    assert (hot.own, hot.total) == (4, 4)


@pytest.mark.parametrize(
    ("width", "shown"),
    [(100, "vfs_read"), (50, "vfs_r…"), (28, "vf…"), (20, ""), (0, "")],
)
def test_labels_are_cut_to_their_boxes(width: float, shown: str) -> None:
    assert fitting("vfs_read", width) == shown


def test_colours_tell_the_kinds_apart() -> None:
    kinds = [colour(f)[0] for f in (PROCESS, MAIN, MALLOC, READ, JIT, NAMELESS)]

    assert kinds == ["p", "u", "u", "k", "j", "n"]


def test_the_picture_is_as_it_was() -> None:
    """To accept a new one: `python tests/trace/test_trace_flame.py`."""
    assert svg(graph(), alone=False) == GOLDEN.read_text()


def test_an_svg_by_itself_is_well_formed_and_needs_nothing_else() -> None:
    text = svg(graph())
    root = ET.fromstring(text)

    assert root.find("s:style", NAMESPACE) is not None
    assert root.find("s:script", NAMESPACE) is not None
    titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "malloc (libc.so.6)\n30 samples, 30.00 %" in titles
    links = re.findall(r"https?://[^\s\"']+", text)
    assert set(links) <= {"http://www.w3.org/2000/svg"}


def test_names_cannot_break_out_of_the_picture() -> None:
    evil = Frame('</title><script>alert("x")</script>', "a&b", "user")

    text = svg(graph({(PROCESS, evil): 1}))
    whole = page(graph({(PROCESS, evil): 1}), ("a <b> note",))

    ET.fromstring(text)
    assert "<script>alert" not in text
    assert "<script>alert" not in whole
    assert "a &lt;b&gt; note" in whole


def test_nothing_seen_is_an_empty_picture() -> None:
    ET.fromstring(svg(graph({})))


def test_a_page_needs_nothing_else_and_lists_the_hottest_functions() -> None:
    text = page(graph(), ("stacks end early",))

    assert set(re.findall(r"https?://[^\s\"']+", text)) == {
        "http://www.w3.org/2000/svg"
    }
    rows = re.findall(r'<td class="name">.*?</svg>(.*?)</td>', text)
    assert rows[:2] == ["work&lt;int&gt;", "malloc"]
    assert "<li>stacks end early</li>" in text


if __name__ == "__main__":
    GOLDEN.write_text(svg(graph(), alone=False))
