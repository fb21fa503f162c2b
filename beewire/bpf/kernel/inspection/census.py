"""Programs, maps and links, each with what the others know of it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from beewire.bpf.kernel import places
from beewire.bpf.kernel.ids import LINK, MAP, PROGRAM
from beewire.bpf.kernel.inspection import attachments, network, objects
from beewire.bpf.kernel.inspection.attachments import Found
from beewire.bpf.kernel.inspection.links import links as every_link
from beewire.bpf.kernel.inspection.network import OnInterface
from beewire.bpf.kernel.inspection.owners import Held, held_by_proc
from beewire.bpf.kernel.inspection.pins import pinned
from beewire.bpf.kernel.inspection.states import (
    Attachment,
    Census,
    LinkState,
    MapState,
    Owner,
    ProgramState,
)

# Types of programs that make it worth the time to look there.
_ON_INTERFACES = {"XDP", "SCHED_CLS", "SCHED_ACT"}
_IN_NAMESPACES = {"FLOW_DISSECTOR", "SK_LOOKUP"}

_Owned = dict[tuple[str, int], tuple[Owner, ...]]
_Pins = dict[tuple[str, int], tuple[str, ...]]


def take_census(holders: Callable[[], list[Held]] = held_by_proc) -> Census:
    """Everything there is now; `holders` finds the descriptors of processes.

    Raises:
        NotPermitted: CAP_SYS_ADMIN is missing.
    """
    programs, maps = tuple(objects.programs()), tuple(objects.maps())
    links = tuple(every_link())
    # Behind the lists: what finds the holders may load a program for it.
    held = holders()
    owned = _owners(held)
    pins = {what: tuple(paths) for what, paths in pinned().items()}
    types = {each.kind for each in programs}
    interfaces = network.on_interfaces() if types & _ON_INTERFACES else []
    links = tuple(_links(links, interfaces, owned, pins))
    hooked = _hooked(links, _without_links(types, maps, held, interfaces))
    return Census(
        tuple(_programs(programs, hooked, owned, pins)),
        tuple(_maps(maps, programs, owned, pins)),
        links,
    )


def _owners(held: list[Held]) -> _Owned:
    found: dict[tuple[str, int], dict[Owner, None]] = {}
    for each in held:
        owners = found.setdefault((each.kind, each.id), {})
        owners[Owner(each.pid, each.comm)] = None
    return {what: tuple(sorted(owners)) for what, owners in found.items()}


def _programs(
    programs: Iterable[ProgramState],
    hooked: dict[int, tuple[Attachment, ...]],
    owned: _Owned,
    pins: _Pins,
) -> Iterator[ProgramState]:
    for each in programs:
        what = PROGRAM, each.id
        yield each._replace(
            owners=owned.get(what, ()),
            pins=pins.get(what, ()),
            attachments=hooked.get(each.id, ()),
        )


def _maps(
    maps: Iterable[MapState],
    programs: Iterable[ProgramState],
    owned: _Owned,
    pins: _Pins,
) -> Iterator[MapState]:
    users: dict[int, list[int]] = {}
    for program in programs:
        for number in program.map_ids:
            users.setdefault(number, []).append(program.id)
    for each in maps:
        what = MAP, each.id
        yield each._replace(
            program_ids=tuple(users.get(each.id, ())),
            owners=owned.get(what, ()),
            pins=pins.get(what, ()),
        )


def _links(
    links: Iterable[LinkState],
    interfaces: list[OnInterface],
    owned: _Owned,
    pins: _Pins,
) -> Iterator[LinkState]:
    for each in links:
        what = LINK, each.id
        yield each._replace(
            target=_interface(each, interfaces) or each.target,
            owners=owned.get(what, ()),
            pins=pins.get(what, ()),
        )


def _interface(link: LinkState, interfaces: list[OnInterface]) -> str:
    """The interface that a link is on: links tell numbers, which differ by namespace."""
    for each in interfaces:
        if _same(link, each):
            _, mode = each.hook.partition(" ")[::2]
            where = each.attachment()[1].target
            return f"{where} ({mode})" if mode else where
    return ""


def _same(link: LinkState, at: OnInterface) -> bool:
    if at.link_id:
        return link.id == at.link_id
    told = link.program_id, link.details.get("ifindex"), link.kind.lower()
    return told == (at.program_id, at.ifindex, at.hook.partition(" ")[0])


def _without_links(
    types: set[str],
    maps: tuple[MapState, ...],
    held: list[Held],
    interfaces: list[OnInterface],
) -> Iterator[Found]:
    """Every way in which programs run that is not a link; some of these are, too."""
    namespaces = places.namespaces() if types & _IN_NAMESPACES else iter(())
    return chain(
        attachments.in_cgroups(types),
        *(
            attachments.in_namespace(path, places.namespace_name(inode))
            for inode, path in namespaces
        ),
        attachments.on_receivers(types),
        attachments.by_perf_events(held),
        attachments.in_tables(maps),
        (each.attachment() for each in interfaces),
    )


def _hooked(
    links: Iterable[LinkState], others: Iterable[Found]
) -> dict[int, tuple[Attachment, ...]]:
    """Where each program runs, by its id."""
    found: dict[int, dict[Attachment, None]] = {}
    linked = {(each.program_id, each.hook) for each in links}
    exact = {(each.program_id, each.hook, each.target) for each in links}
    for link in links:
        if link.program_id:
            places_of = found.setdefault(link.program_id, {})
            places_of[Attachment(link.hook, link.target, link.id)] = None
    for number, attachment in others:
        hook = attachment.kind.partition(" ")[0]
        # A cgroup or a namespace may run one program by a link and without, too.
        by_path = hook.startswith(("cgroup", "lsm", "flow", "sk_lookup"))
        known = (
            (number, hook, attachment.target) in exact
            if by_path
            else (number, hook) in linked
        )
        if not known and not attachment.link_id:
            found.setdefault(number, {})[attachment] = None
    return {number: tuple(where) for number, where in found.items()}
