"""Which programs are at a hook, in the order in which they run (BPF_PROG_QUERY)."""

import errno
import struct

from beewire.bpf.kernel import attr, ids, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.object import AttachKind
from beewire.rows import Row

_EFFECTIVE = 1 << 0  # BPF_F_QUERY_EFFECTIVE
_MOST = 64  # programs at one hook (BPF_CGROUP_MAX_PROGS, BPF_MPROG_MAX)
_WORDS = f"={_MOST}I"
# Hooks that tell the links, and keep a revision.
_INTERFACE = (
    *(AttachKind.TCX_INGRESS, AttachKind.TCX_EGRESS),
    *(AttachKind.NETKIT_PRIMARY, AttachKind.NETKIT_PEER),
)


class AttachedProgram(Row):
    """A program at a hook: its id and name, and the id of its link.

    The link's is 0 where there is none, or where the hook does not tell (cgroups). The
    name is "" where this process may not ask for it (CAP_SYS_ADMIN).
    """

    id: int
    name: str
    link_id: int = 0

    def __str__(self) -> str:
        """As errors name it."""
        link = f", of link {self.link_id}" if self.link_id else ""
        return f"program {self.id} ({self.name or 'of a name that is not told'}{link})"


class Attached(Row):
    """The programs at a hook. `flags` are those of the hook: 1 override, 2 multi.

    `revision` counts changes; 0 where the hook keeps none.
    """

    programs: tuple[AttachedProgram, ...]
    flags: int = 0
    revision: int = 0


def query(target: int, kind: AttachKind, *, effective: bool = False) -> Attached | None:
    """What is at `target`: a descriptor, or the index of an interface.

    `effective` tells what runs for the processes of a cgroup, its ancestors' programs
    included. None where the kernel does not know the hook, or may not be asked.
    """
    answer = _ask(target, kind, _EFFECTIVE if effective else 0)
    if answer is None:
        return None
    found, record = answer
    integer = attr.PROG_QUERY.integer
    return Attached(
        tuple([named(number, link) for number, link in found]),
        integer(record, "attach_flags"),
        integer(record, "revision"),
    )


def ids_at(target: int, kind: AttachKind) -> list[tuple[int, int]]:
    """The ids of the programs at `target`, each with its link's, as AttachedProgram has.

    Nothing where the kernel does not know the hook, or may not be asked.
    """
    answer = _ask(target, kind, 0)
    return answer[0] if answer is not None else []


def _ask(
    target: int, kind: AttachKind, flags: int
) -> tuple[list[tuple[int, int]], bytearray] | None:
    numbers, links = bytearray(4 * _MOST), bytearray(4 * _MOST)
    record = attr.PROG_QUERY.pack(
        target_fd=target,
        attach_type=kind,
        query_flags=flags,
        prog_ids=syscall.address(numbers),
        prog_cnt=_MOST,
        # Linux before 6.6 does not know this field, and takes it only when it is zero.
        link_ids=syscall.address(links) if kind in _INTERFACE else 0,
    )
    result = syscall.try_bpf(syscall.Cmd.PROG_QUERY, record)
    if result < 0 and result != -errno.ENOENT:
        return None
    count = min(attr.PROG_QUERY.integer(record, "prog_cnt"), _MOST)
    both = zip(
        struct.unpack(_WORDS, numbers), struct.unpack(_WORDS, links), strict=True
    )
    return list(both)[: count if result == 0 else 0], record


def named(number: int, link_id: int = 0) -> AttachedProgram:
    """A program by its id, with its name where it can be had."""
    fd = ids.try_open(ids.PROGRAM, number)
    if fd < 0:
        return AttachedProgram(number, "", link_id)
    with Descriptor(fd):
        info = syscall.read_info(fd, attr.PROG_INFO)
        return AttachedProgram(number, attr.PROG_INFO.text(info, "name"), link_id)


def others(found: "Attached | list[AttachedProgram] | None") -> str:
    """Who is there, as the end of a sentence; "" where nobody is, or it is not told."""
    programs = found.programs if isinstance(found, Attached) else found or ()
    return " and ".join(str(each) for each in programs)
