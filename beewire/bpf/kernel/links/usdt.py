"""Static probes of user space (USDT): uprobes at the places that a file's notes tell.

Programs that were compiled for the places (`@usdt` in Python) read arguments directly:
one program for each form that the arguments have (`usdt_maps`: those of libbpf).
"""

from beewire.bpf.kernel.binaries import Binary
from beewire.bpf.kernel.links import uprobe
from beewire.bpf.kernel.links.event import EventLink
from beewire.bpf.kernel.links.probe import Place
from beewire.bpf.kernel.program import Program
from beewire.errors import AttachError
from beewire.hints import Mapping, Sequence
from beewire.symbols.stapsdt import StaticProbe, static_probes


def find_probes(binary: Binary, provider: str, name: str) -> list[StaticProbe]:
    """The places of a static probe; an empty provider is any.

    Raises:
        AttachError: the file has no such probe; the message tells those it has.
    """
    probes = list(static_probes(binary.elf))
    found = [
        each for each in probes if each.name == name and provider in ("", each.provider)
    ]
    if found:
        return found
    from beewire.bpf.kernel.hooks import near  # noqa: PLC0415 - errors only

    known = sorted({f"{each.provider}:{each.name}" for each in probes})
    similar = near(f"{provider}:{name}", known)
    if not known:
        hint = "it has none: it may be built without (<sys/sdt.h>)"
    else:
        hint = (
            f"did you mean {similar}?" if similar else f"it has {', '.join(known[:12])}"
        )
    raise AttachError(f"{binary.path} has no static probe {provider}:{name}; {hint}")


def split_usdt(place: str) -> tuple[str, str, str]:
    """Path, provider and name of "path:provider:name".

    Raises:
        AttachError: one of them is missing.
    """
    path, _, name = place.rpartition(":")
    path, _, provider = path.rpartition(":")
    if not (path and name):
        raise AttachError(
            f"{place!r} is no static probe: write path:provider:name, as in "
            '"/usr/bin/python3:python:gc__start"'
        )
    return path, provider, name


def attach_usdt(
    programs: Mapping[str, Program],
    place: str,
    *,
    pid: int = -1,
    cookie: int = 0,
    way: str = "",
) -> EventLink:
    """Run programs at the places of a static probe, each where its arguments are.

    `programs` are by the text that notes have for the arguments ("8@%rdi -4@$5"); the
    one for "" runs at all other places. `place` is "path:provider:name"; `pid`, `cookie`
    and `way` are as those of uprobes. Counters that the probe has (semaphores) are
    raised meanwhile.

    Raises:
        AttachError: there is no such probe, or one with arguments that no program is for.
        NotPermitted: CAP_PERFMON or CAP_BPF is missing.
    """
    path, provider, name = split_usdt(place)
    with Binary.find(path, pid) as binary:
        found = find_probes(binary, provider, name)
        groups: dict[str, list[Place]] = {}
        for each in found:
            key = each.operands if each.operands in programs else ""
            if key not in programs:
                raise AttachError(_misfit(place, each, programs))
            groups.setdefault(key, []).append(place_of(binary, each))
    links: list[EventLink] = []
    try:
        for key, places in groups.items():
            program = programs[key]
            links.append(
                attach_places(program, places, place, pid, [cookie] * len(places), way)
            )
    except BaseException:
        for link in links:
            link.close()
        raise
    first, *others = links
    for link in others:
        first.absorb(link)
    return first


def attach_places(
    program: Program,
    places: Sequence[Place],
    place: str,
    pid: int,
    cookies: Sequence[int],
    way: str,
) -> EventLink:
    """Run a program at places of a static probe that are known already."""
    about = f"static probe {place}"
    return uprobe.attach_places(
        program, places, about, pid=pid, cookies=cookies, way=way
    )


def place_of(binary: Binary, probe: StaticProbe) -> Place:
    """Where a place of a static probe is in the file, with its counter."""
    counter = binary.file_offset(probe.semaphore) if probe.semaphore else 0
    return Place(binary.path, binary.file_offset(probe.address), counter)


def _misfit(place: str, probe: StaticProbe, programs: Mapping[str, Program]) -> str:
    known = " or ".join(repr(each) for each in programs)
    return (
        f"{place} passes its arguments as {probe.operands!r}, and the program was "
        f"compiled for {known}: compile it for this file, @usdt({place!r})"
    )
