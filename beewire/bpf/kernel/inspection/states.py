"""What is known of a program, a map and a link in the kernel: plain values."""

from typing import NamedTuple


class Owner(NamedTuple):
    """A process that holds a descriptor of something; it may hold several."""

    pid: int
    comm: str


class Attachment(NamedTuple):
    """Where a program runs: what kind of hook, where it is, and the link's id, or 0.

    Without a link it was attached in the older way, or stands in a table of programs.
    """

    kind: str
    target: str
    link_id: int = 0


class ProgramState(NamedTuple):
    """A program in the kernel. Sizes are in bytes, times in ns, `loaded_at` in Unix time.

    `kind` is the kernel's name without its prefix. `memory` is what the kernel charges
    for the program itself. Runs are counted only while statistics are on.
    """

    id: int
    kind: str
    name: str
    tag: str
    loaded_at: float
    uid: int
    gpl: bool
    jited_size: int
    xlated_size: int
    memory: int
    verified_insns: int
    run_time_ns: int
    run_count: int
    recursion_misses: int
    map_ids: tuple[int, ...]
    btf_id: int
    owners: tuple[Owner, ...] = ()
    pins: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def ns_per_run(self) -> float:
        """How long a run took on average, or 0.0 where none was counted."""
        return self.run_time_ns / self.run_count if self.run_count else 0.0


class MapState(NamedTuple):
    """A map in the kernel. Sizes are in bytes; `memory` is what the kernel charges for it.

    The types of keys and values are of the BTF object `btf_id`, `table_type_id` (a table
    of operations) is of the kernel's own.
    """

    id: int
    kind: str
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    memory: int
    frozen: bool
    btf_id: int
    key_type_id: int
    value_type_id: int
    table_type_id: int
    program_ids: tuple[int, ...] = ()
    owners: tuple[Owner, ...] = ()
    pins: tuple[str, ...] = ()


class LinkState(NamedTuple):
    """A link in the kernel. `hook` is what it attaches to, `target` where that is.

    `details` has what only this kind of link tells, by the kernel's names.
    """

    id: int
    kind: str
    program_id: int
    hook: str
    target: str
    details: dict[str, object]
    owners: tuple[Owner, ...] = ()
    pins: tuple[str, ...] = ()


class Census(NamedTuple):
    """All of them at one time; what ended while they were counted is missing."""

    programs: tuple[ProgramState, ...]
    maps: tuple[MapState, ...]
    links: tuple[LinkState, ...]
