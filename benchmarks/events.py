"""How fast are events read, and how many a second without loss?

iterate_us, batch_us and numpy_us: microseconds to decode one event and hand it over, as an
object in a plain loop, as a tuple in `read_batch()`, in the array of
`read_batch(numpy=True)`; of 4,096 that are in the memory shared with the kernel, headers
checked and position published. An event has pid, tid, time in ns and the 16 bytes of
comm, which make 40 bytes in the ring, and comm becomes a str (bytes with numpy).

rate: the highest load, in events a second, that a tool takes without loss. Four threads
call getppid() at a fixed rate, in bursts of a millisecond, on all CPUs but the first,
which the reader has to itself. Each call sends 32 events of pid, tid and a number, or the
callers would be the limit. All have buffers of 2 MiB. Beewire reads its ring by
`read_batch(numpy=True)`; beewire.batch and beewire.iterate read tuples, and objects. BCC
reads a ring by its Python callback, which decodes each event; bpftrace has perf buffers,
and its printf() goes into a pipe. Every round goes through all tools, ratios are taken
within a round. producer_us and reader_us: CPU time an event at 50,000 a second, the
caller's without that of calls that nobody traces; reader_full_us: at the highest load.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from _event_rates import (
    COMMON,
    Caller,
    Reading,
    Rung,
    Unavailable,
    climb,
    highest,
    tools,
)
from _loss_plot import Curve, drawing
from _report import Figure, machine, measured, missing, options, show, write

from beewire.bpf import (
    RingBuf,
    Struct,
    XdpAction,
    XdpContext,
    chars,
    ktime_ns,
    load,
    u32,
    u64,
    xdp,
)
from beewire.errors import BeewireError

PLOT = Path(__file__).parents[1] / "docs" / "pictures" / "events.svg"
EVENTS = 4096
WAYS = ("iterate", "batch", "numpy")
LEGEND = {
    "beewire": ("Beewire, numpy", "#0a5"),
    "beewire.batch": ("Beewire, tuples", "#5b8"),
    "beewire.iterate": ("Beewire, loop", "#9c6"),
    "bcc": ("BCC", "#c33"),
    "bpftrace": ("bpftrace", "#36c"),
}


class Event(Struct):
    """What a call is reported with."""

    pid: u32
    tid: u32
    ns: u64
    comm: str = chars(16)


events = RingBuf[Event](size=1 << 20, name="bw_bench")


@xdp
def send(ctx: XdpContext) -> XdpAction:
    with events.reserve() as event:
        if event is not None:
            event.pid = 4242
            event.tid = 4243
            event.ns = ktime_ns()
            event.comm = "python3"
    return XdpAction.PASS


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=5)
    host = machine()
    figures = handovers(asked.rounds * 20)
    figures |= rates(asked.rounds, asked.seconds or 1.0)
    show(figures)
    if asked.json:
        write(asked.json, "events", host, asked.rounds, figures)
    return 0


# --- one event ---


def handovers(rounds: int) -> dict[str, Figure]:
    """What it takes to hand an event over, in each way."""
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    why: dict[str, str] = {}
    with load(send) as loaded:
        ring, program = loaded[events], loaded[send].live

        def iterate() -> int:
            count = 0
            for _ in ring:
                count += 1
                if count == EVENTS:
                    break
            return count

        ways: dict[str, Callable[[], int]] = {
            "iterate": iterate,
            "batch": lambda: len(ring.read_batch()),
            "numpy": lambda: len(ring.read_batch(numpy=True)),
        }
        for _ in range(rounds):
            for way, read in ways.items():
                program.test_run(bytes(64), repeat=EVENTS)
                try:
                    start = time.perf_counter()
                    count = read()
                    took[way].append((time.perf_counter() - start) / count * 1e6)
                except BeewireError as error:
                    why[way] = str(error)
                    ring.poll()
    return {
        f"{way}_us": missing("us", why[way]) if way in why else measured(each, "us")
        for way, each in took.items()
    }


# --- many events ---


class Found:
    """What was found of one tool, a sample a round; or why it does not run."""

    def __init__(self) -> None:
        self.best: list[Rung] = []
        self.common: list[Rung] = []
        self.climbs: list[list[Rung]] = []
        self.why = ""

    def figures(self, name: str) -> dict[str, Figure]:
        """The rate, and what an event costs."""
        samples = {
            "rate": ("events/s", [rung.offered for rung in self.best]),
            "producer_us": ("us", [rung.producer_us for rung in self.common]),
            "reader_us": ("us", [rung.reader_us for rung in self.common]),
            "reader_full_us": ("us", [rung.reader_us for rung in self.best]),
        }
        return {
            f"{name}.{key}": missing(unit, self.why)
            if self.why
            else measured(each, unit)
            for key, (unit, each) in samples.items()
        }

    def curve(self, name: str) -> Curve:
        """The median of each rung of the ladder that every round has."""
        rungs = zip(*self.climbs, strict=False)
        points = [
            (median(r.offered for r in rung), median(r.lost for r in rung))
            for rung in rungs
        ]
        return Curve(*LEGEND[name], sorted(points))


def rates(rounds: int, seconds: float) -> dict[str, Figure]:
    """What each tool takes without loss, and what an event costs."""
    try:
        with Caller() as caller:
            found = {tool.name: Found() for tool in tools(caller.folder)}
            for _ in range(rounds):
                one_round(caller, found, seconds)
    except Unavailable as error:
        return {
            name: missing("ratio", str(error))
            for name in ("rate_vs_bcc", "rate_vs_bpftrace")
        }
    curves = [each.curve(name) for name, each in found.items() if each.climbs]
    PLOT.write_text(drawing(curves), encoding="utf-8")
    figures = {f"rate_vs_{other}": ratio(found, other) for other in ("bcc", "bpftrace")}
    for name, each in found.items():
        figures |= each.figures(name)
    return figures


def one_round(caller: Caller, found: dict[str, Found], seconds: float) -> None:
    """Let every tool that runs here climb."""
    caller.calibrate(seconds)
    for tool in tools(caller.folder):
        of_tool = found[tool.name]
        if of_tool.why:
            continue
        try:
            with Reading(tool, caller) as reading:
                trials = [caller.trial(reading, COMMON, seconds) for _ in range(3)]
                of_tool.common += trials
                rungs = climb(caller, reading, seconds)
                of_tool.climbs.append(rungs)
                of_tool.best.append(highest(caller, reading, rungs, seconds))
        except Unavailable as error:
            of_tool.why = str(error)


def ratio(found: dict[str, Found], other: str) -> Figure:
    """Our rate to that of another tool, round by round."""
    theirs = found[other]
    if theirs.why or found["beewire"].why:
        return missing("ratio", theirs.why or found["beewire"].why, other)
    pairs = zip(found["beewire"].best, theirs.best, strict=True)
    samples = [ours.offered / each.offered for ours, each in pairs if each.offered]
    if not samples:
        return missing("ratio", f"{other} loses events at every load", other)
    return measured(samples, "ratio", other)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BeewireError as error:
        sys.exit(f"events: {error}")
