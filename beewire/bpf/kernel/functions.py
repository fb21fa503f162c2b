"""The kernel's functions by name: which there are, which can be probed, which is meant.

ftrace tells in tracefs which functions can be traced; /proc/kallsyms tells all.
"""

import os

from beewire.bpf.kernel import tracefs
from beewire.bpf.kernel.hooks import near
from beewire.errors import AttachError, BeewireError
from beewire.hints import Iterator
from beewire.symbols.kallsyms import pieces

_AVAILABLE = "available_filter_functions"
_WITH_ADDRESSES = "available_filter_functions_addrs"  # Linux 6.5
_BLACKLIST = "/sys/kernel/debug/kprobes/blacklist"


def matching(pattern: str) -> list[tuple[str, int]]:
    """The traceable functions that a pattern with `*`, `?`, `[...]` matches, by name.

    The addresses are 0 where the kernel hides them. A name that several functions have
    is there as often where addresses tell them apart, and else left out.

    Raises:
        AttachError: there is none, or no way to tell.
    """
    from fnmatch import translate  # noqa: PLC0415 - patterns only
    from re import compile as compile_pattern  # noqa: PLC0415 - patterns only

    matches = compile_pattern(translate(pattern)).match
    found = sorted((name, address) for name, address in _traceable() if matches(name))
    names = [name for name, _ in found]
    if not found:
        raise AttachError(f"no traceable function of this kernel is like {pattern!r}")
    if all(address for _, address in found):
        return found
    return [(name, 0) for name, _ in found if names.count(name) == 1]


def _traceable() -> Iterator[tuple[str, int]]:
    with tracefs.open_tracefs("list the functions that can be traced") as root:
        try:
            found = list(_lines(tracefs.read(root, _WITH_ADDRESSES)))
        except OSError:
            found = []  # before Linux 6.5
        if found:
            yield from found
            return
        try:
            text = tracefs.read(root, _AVAILABLE).decode()
        except OSError as error:
            raise AttachError(
                f"cannot list the functions that can be traced: {_AVAILABLE} in tracefs "
                f"({error.strerror}); the kernel may be built without "
                "CONFIG_DYNAMIC_FTRACE, or forbid it: give names instead of a pattern"
            ) from error
    known = {line.partition(" ")[0] for line in text.split("\n") if line}
    for name, address in symbols():
        if name in known:
            yield name, address


def _lines(content: bytes) -> Iterator[tuple[str, int]]:
    """Of "ffffffff81000000 name [module]"."""
    for line in content.decode().split("\n"):
        address, _, rest = line.partition(" ")
        if rest:
            yield rest.partition(" ")[0], int(address, 16)


def symbols() -> Iterator[tuple[str, int]]:
    """The kernel's functions, as /proc/kallsyms has them: name, address or 0."""
    for block in pieces():
        for line in block.decode(errors="replace").split("\n"):
            address, _, rest = line.partition(" ")
            if rest[:1] in "tTwW" and "\t[bpf]" not in rest:
                yield rest[2:].partition("\t")[0], int(address or "0", 16)


def size(name: str) -> int | None:
    """The bytes from a function to what follows it; None where the kernel hides that.

    Also of a name that no function has, or several.
    """
    try:
        found = list(symbols())
    except BeewireError:
        return None
    starts = [address for each, address in found if each == name and address]
    if len(starts) != 1:
        return None
    return min((a for _, a in found if a > starts[0]), default=starts[0]) - starts[0]


def why_not(name: str) -> str:
    """Why the kernel places no probe in a function: the end of a sentence."""
    try:
        known = {each for each, _ in symbols()}
    except BeewireError:
        return "the kernel has no such function, or allows no probe in it"
    if name not in known:
        similar = near(name, list(known))
        hint = f"did you mean {similar}?" if similar else (
            "it may be inlined, in a module that is not loaded, or named otherwise"
        )  # fmt: skip
        return f"this kernel has no function {name!r}; {hint}"
    if name in forbidden():
        return (
            "the kernel forbids probes in that function (kprobes/blacklist: it is "
            "noinstr, or probes need it themselves); probe a function that calls it"
        )
    return (
        "the kernel cannot probe that function: it is in a section that is not "
        "instrumented, or the offset is not the start of an instruction"
    )


def forbidden() -> set[str]:
    """The functions that no probe may be in, where the kernel tells."""
    # "0xffffffff81000000-0xffffffff81000010\tname"
    try:
        with open(_BLACKLIST, encoding="ascii") as file:  # noqa: PTH123 - as elsewhere here
            return {line.rstrip().rpartition("\t")[2] for line in file}
    except OSError:
        return set()


def near_tracepoint(name: str) -> str:
    """Up to three tracepoints that look like `name`, or ""."""
    try:
        with tracefs.open_tracefs("list tracepoints") as root:
            lines = tracefs.read(root, "available_events").decode().split()
    except (OSError, AttachError):
        return ""
    return near(name, [line.partition(":")[2] for line in lines])


def event_source(kind: str) -> int | None:
    """The number of a perf event source ("kprobe", "uprobe"); None where it is missing."""
    try:
        with open(_source(kind, "type"), encoding="ascii") as file:  # noqa: PTH123
            return int(file.read())
    except OSError:
        return None


def return_bit(kind: str) -> int:
    """Which bit of `config` asks a source for the return of a function."""
    try:
        with open(_source(kind, "format/retprobe"), encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().partition(":")[2])
    except OSError:
        return 0


def _source(kind: str, name: str) -> str:
    return os.path.join(f"/sys/bus/event_source/devices/{kind}", name)  # noqa: PTH118
