"""Where a program comes among those at the same hook.

Hooks with an order are tcx (Linux 6.6), netkit (6.7) and cgroups (6.16).
"""

import errno

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, attach_error
from beewire.bpf.kernel.links.direct import DirectLink
from beewire.bpf.kernel.program import Program
from beewire.errors import (
    AttachError,
    KernelError,
    NotPermitted,
    NotSupported,
    SpecError,
)
from beewire.rows import Row

# uapi/linux/bpf.h
_BEFORE, _AFTER, _BY_ID, _BY_LINK = 1 << 3, 1 << 4, 1 << 5, 1 << 13
ALL = "all"


class LinkId(int):
    """A link that another process holds, by its id."""


class ProgramId(int):
    """A program at the hook, by its id."""


# What a program comes before or after; "all": it is the first, or the last.
Neighbour = Link | Program | LinkId | ProgramId | str


class Order(Row):
    """Flags of uapi/linux/bpf.h, the neighbour that they speak of, and the revision.

    A `revision` other than 0 is that of the list of programs, as `programs_at` told it:
    where the list has changed since, attaching is refused (ESTALE).
    """

    flags: int = 0
    relative: int = 0
    revision: int = 0

    @property
    def is_given(self) -> bool:
        """Whether any order is asked for."""
        return self != Order()


def order(
    before: Neighbour | None, after: Neighbour | None, revision: int = 0
) -> Order:
    """The order that stands for these words.

    Raises:
        SpecError: a neighbour that is none.
    """
    flags, relative = 0, 0
    for neighbour, flag in ((before, _BEFORE), (after, _AFTER)):
        if neighbour is None:
            continue
        kind, number = _place(neighbour)
        if relative and relative != number:
            raise SpecError(
                "a program comes before or after one other: give one of them"
            )
        flags |= flag | kind
        relative = number
    return Order(flags, relative, revision)


def _place(neighbour: Neighbour) -> tuple[int, int]:
    if isinstance(neighbour, LinkId):
        return _BY_ID | _BY_LINK, int(neighbour)
    if isinstance(neighbour, ProgramId):
        return _BY_ID, int(neighbour)
    if isinstance(neighbour, DirectLink):
        return 0, neighbour.fd  # a program's: there is no link
    if isinstance(neighbour, Link):
        return _BY_LINK, neighbour.fd
    if isinstance(neighbour, Program):
        return 0, neighbour.fd
    if neighbour == ALL:
        return 0, 0
    raise SpecError(
        f"{neighbour!r} is no neighbour: give a Link, a Program, LinkId(n), "
        'ProgramId(n), or "all"'
    )


def create_ordered(
    program: Program, target: int, attach_type: int, place: str, wanted: Order
) -> int:
    """BPF_LINK_CREATE at a hook that keeps an order; the descriptor of the link.

    Raises:
        AttachError: the hook does not take this program, or there is no such neighbour.
        NotPermitted: a capability is missing.
        NotSupported: this kernel has no such links.
    """
    record = attr.ORDERED_LINK.pack(
        prog_fd=program.fd,
        target_fd=target,
        attach_type=attach_type,
        flags=wanted.flags,
        relative_fd=wanted.relative,
        expected_revision=wanted.revision,
    )
    about = f"attach {program.name!r} to {place}"
    try:
        return syscall.bpf(syscall.Cmd.LINK_CREATE, record, about, ("CAP_NET_ADMIN",))
    except (NotPermitted, NotSupported):
        raise
    except KernelError as error:
        why = _misplaced(error.errno or 0, wanted)
        if why:
            raise AttachError(f"cannot {about}: {why}") from error
        raise attach_error(error, program, place) from error


def _misplaced(number: int, wanted: Order) -> str:
    """Why the kernel refused an order, or ""."""
    if number == errno.ESTALE:
        return (
            f"other programs came or went since revision {wanted.revision} of the list; "
            "look at it again, and try with the new revision"
        )
    if wanted.relative and number in (errno.ENOENT, errno.EBADF, errno.ERANGE):
        return "what it shall come before or after is not attached there"
    return ""
