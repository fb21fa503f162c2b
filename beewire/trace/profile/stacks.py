"""Recorded addresses as stacks of named frames, and how whole they are."""

from collections import Counter
from typing import NamedTuple

from beewire.symbols import Frame, Symbolizer
from beewire.symbols.unwind import MOST_FRAMES
from beewire.trace.profile.programs import DEPTH
from beewire.trace.profile.recorder import Recording, Sample

Stack = tuple[Frame, ...]

# Where threads begin: a stack that ends in one of them is whole.
_FIRST = (
    "_start",
    "__libc_start_main",
    "__libc_start_call_main",
    "start_thread",
    "clone",
    "__clone",
    "clone3",
    "__clone3",
    "thread_start",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
    "_dl_start",
    "_dl_start_user",
    "_dl_relocate_static_pie",
)
# What a program at a tracepoint adds to the kernel's stack.
_TRACING = (
    "bpf_prog_",
    "bpf_trace_run",
    "__bpf_trace",
    "trace_call_bpf",
    "perf_trace_",
    "perf_call_bpf",
    "bpf_get_stackid",
    "__traceiter_",
)
# Where every wait ends, whatever it waits for.
_WAITING = ("__schedule", "schedule", "preempt_schedule", "io_schedule")
LOST = Frame("[stack lost]", "", "note")
READY = Frame("[ready: waits for a CPU]", "", "note")


class Wholeness(NamedTuple):
    """How much of the user stacks is there, in the profile's unit.

    `early` is what ends before a thread's beginning, by the module that it ends in;
    `deep` what has more frames than are taken; `lost` what had no place. `unseen` counts
    processes that ended before they could be looked at.
    """

    total: int
    early: dict[str, int]
    deep: int
    lost: int
    unseen: int


class Profile(NamedTuple):
    """Stacks, outermost frame first, with their samples or nanoseconds."""

    stacks: dict[Stack, int]
    wholeness: Wholeness
    recording: Recording
    kernel_fault: str
    without_symbols: dict[str, str]

    @property
    def total(self) -> int:
        """All samples, or nanoseconds."""
        return sum(self.stacks.values())


def resolve(recording: Recording, symbols: Symbolizer) -> Profile:
    """The recording's stacks with names, those that read the same together."""
    stacks: Counter[Stack] = Counter()
    early: Counter[str] = Counter()
    total = deep = lost = 0
    unseen: set[int] = set()
    off_cpu = recording.options.off_cpu
    most = MOST_FRAMES if recording.options.unwind else DEPTH
    for sample in recording.samples:
        user = _code(symbols.user_stack(sample.pid, sample.user))
        stacks[_stack(sample, user, symbols, off_cpu=off_cpu)] += sample.value
        lost += sample.value if sample.user_lost or sample.kernel_lost else 0
        if not sample.user:
            continue
        total += sample.value
        if not len(symbols.process(sample.pid).mappings):
            unseen.add(sample.pid)
        elif sample.whole:
            continue
        elif len(sample.user) >= most:
            deep += sample.value
        elif not user or not user[-1].name.startswith(_FIRST):
            early[user[-1].module if user else "[unknown]"] += sample.value
    wholeness = Wholeness(total, dict(early.most_common()), deep, lost, len(unseen))
    without = symbols.images.without_symbols()
    return Profile(dict(stacks), wholeness, recording, symbols.kernel_fault, without)


def _code(frames: list[Frame]) -> list[Frame]:
    """Frames as far as they are code: behind that, what looked like one was none."""
    for place, frame in enumerate(frames):
        if not frame.name and not frame.module:
            return frames[:place]
    return frames


def _stack(
    sample: Sample, user: list[Frame], symbols: Symbolizer, *, off_cpu: bool
) -> Stack:
    process = sample.process or sample.thread
    found = [Frame(process, "", "process")]
    if sample.thread != process:
        found.append(Frame(sample.thread, "", "thread"))
    for frame in reversed(user):
        # Of what has no names, how many calls there were says nothing.
        if frame.name or frame.label != found[-1].label:
            found.append(frame._replace(offset=0))
    kernel = symbols.kernel_stack(sample.kernel)
    inner = _TRACING + _WAITING if off_cpu else _TRACING
    while len(kernel) > 1 and kernel[0].name.startswith(inner):
        del kernel[0]
    found += [frame._replace(offset=0) for frame in reversed(kernel)]
    if sample.user_lost or sample.kernel_lost:
        found.append(LOST)
    if sample.ready:
        found.append(READY)
    return tuple(found)


_SUFFIXES = {"kernel": "_[k]", "jit": "_[j]"}


def folded(stacks: dict[Stack, int], unit: int = 1) -> str:
    """One line a stack, as flame graph tools take it: `main;work;read_[k] 12`.

    Values are divided by `unit`, and what comes to nothing is left out.
    """
    lines: Counter[str] = Counter()
    for stack, value in stacks.items():
        text = ";".join(
            frame.label.replace(";", ":").replace("\n", " ")
            + _SUFFIXES.get(frame.kind, "")
            for frame in stack
        )
        lines[text] += value
    return "".join(
        f"{text} {round(value / unit)}\n"
        for text, value in sorted(lines.items())
        if round(value / unit)
    )
