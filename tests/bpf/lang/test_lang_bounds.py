"""An index past the end of an array ends the program, wherever the array lies."""

import pytest

from beewire.bpf import collect
from beewire.bpf.lang import exits
from tests.bpf.lang.cells import evaluated, program, results

pytestmark = pytest.mark.kernel

FLOW = """
class Flow(Struct):
    buckets: list[int] = array(u32, 4)
    text: str = chars(4)
    next: u32
    last: u64
flows = Array[Flow](2)
events = RingBuf[Flow](4096)
own = Global(Flow)
here = PerCpuGlobal(Flow)
"""
LOOKUP = "flow = flows.lookup(0)\nif flow is None:\n    return XdpAction.PASS\n"
# Each writes or reads an element at at.a, which there is below 4 only.
PLACES = {
    "a map's value": LOOKUP + "flow.buckets[at.a] += 7\nresults[1] = flow.buckets[3]",
    "a text of a map's value": (
        LOOKUP + "flow.text[at.a] = 7\nresults[1] = flow.text[3]"
    ),
    "a local": "flow = Flow()\nflow.buckets[at.a] = 7\nresults[1] = flow.buckets[3]",
    "an array of its own": "many = array(u64, 4)\nmany[at.a] = 7\nresults[1] = many[3]",
    "a global": "own.buckets[at.a] = 7\nresults[1] = own.buckets[3]",
    "a per-CPU global": (
        "here.value.buckets[at.a] = 7\nresults[1] = here.value.buckets[3]"
    ),
    "a record": (
        "with events.reserve() as flow:\n    if flow is not None:\n"
        "        flow.buckets[at.a] = 7\n        results[1] = flow.buckets[3]"
    ),
    "a packet": (
        "flow = ctx.at(24, Flow)\nif flow is None:\n    return XdpAction.PASS\n"
        "flow.buckets[at.a] = 7\nresults[1] = flow.buckets[3]"
    ),
    "a slice": (
        LOOKUP + "flow.text[at.a - 1 : at.a - 1 + 2] = b'ab'\n"
        "results[1] = 7 if flow.text[3] == 98 else 1"
    ),
    "a struct that is passed on": (
        LOOKUP + "put(flow, at.a)\nresults[1] = flow.buckets[3]"
    ),
    "an index that may be negative": (
        LOOKUP + "flow.buckets[i64(at.a)] = 7\nresults[1] = flow.buckets[3]"
    ),
}
PUT = """
@subprogram
def put(flow: Flow, i: u64) -> None:
    flow.buckets[i] = 7
"""


@pytest.mark.parametrize("name", PLACES)
def test_an_index_past_the_end_ends_the_program(name: str) -> None:
    names = program(FLOW + PUT, f"results[0] = 1\n{PLACES[name]}\nresults[2] = 1")

    assert results(names, a=5)[:3] == evaluated(names)[:3] == [1, 0, 0]
    assert results(names, a=3)[:3] == [1, 7, 1]


# Indices that are within four, as the compiler sees.
WITHIN = {
    "masked": "x = flow.buckets[at.a & 3]",
    "shifted": "x = flow.buckets[at.d >> 14]",
    "compared": "if at.a < 4:\n    x = flow.buckets[at.a]",
    "compared with less": "if at.a <= 2:\n    x = flow.buckets[at.a]",
    "compared on the way": (
        "if at.a >= 4:\n    return XdpAction.PASS\nx = flow.buckets[at.a]"
    ),
    "between": "i = i64(at.a)\nif 0 <= i < 4:\n    x = flow.buckets[i]",
    "counted": "for i in range(4):\n    x += flow.buckets[i]",
    "counted down": "for i in range(3, -1, -1):\n    x += flow.buckets[i]",
    "counted in part": "for i in range(1, 3):\n    x += flow.buckets[i + 1]",
    "gone through": "for n in flow.buckets:\n    x += n",
    "counted in two": (
        "for i in range(2):\n    for j in range(2):\n"
        "        x += flow.buckets[i * 2 + j]"
    ),
}


@pytest.mark.parametrize("name", WITHIN)
def test_an_index_that_is_plainly_within_is_not_tested(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = LOOKUP + f"x = u64(1)\n{WITHIN[name]}\nresults[1] = x"
    names = program(FLOW, body)
    found = collect([names["program"]]).programs["program"].insns
    results(names)

    monkeypatch.setattr(exits, "bound", lambda *_: None)

    names = program(FLOW, body)
    assert len(found) == len(collect([names["program"]]).programs["program"].insns)
