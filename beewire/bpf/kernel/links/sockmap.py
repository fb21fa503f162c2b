"""Programs on the messages of the sockets in a sockmap or sockhash."""

import errno
import os

from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.links.base import Link, LinkKind, attach_error
from beewire.bpf.kernel.maps import AnyMap
from beewire.bpf.kernel.program import Program
from beewire.bpf.object import AttachKind, MapKind, ProgramKind
from beewire.errors import AttachError, KernelError, NotPermitted, NotSupported
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import SockmapInfo


def attach_sockmap(
    program: Program, sockets: AnyMap, *, as_link: bool = True, replace: bool = False
) -> Link:
    """Run `program` on what the sockets in `sockets` send (sk_msg) or receive (sk_skb).

    A socket takes the programs that the map has when it is put in, and keeps them until
    it is taken out: what is attached, updated or detached later counts for sockets that
    are put in later.

    `as_link=False` takes the older way (BPF_PROG_ATTACH), which is also the fallback for
    kernels without sockmap links (before Linux 6.10). With `replace` the program takes, in
    one step, the place of one that no link holds.

    Raises:
        AttachError: the map or the program is not of the right kind.
        NotPermitted: CAP_NET_ADMIN or CAP_BPF is missing.
    """
    if sockets.spec.kind not in (MapKind.SOCKMAP, MapKind.SOCKHASH):
        raise AttachError(
            f"cannot attach {program.name!r} to map {sockets.name!r}: it holds no "
            f"sockets, it is a {sockets.spec.kind.name} map"
        )
    hook = _hook(program)
    place = f"map {sockets.name!r}"
    description = f"{program.name!r} on {place}"
    if as_link and not replace:
        record = attr.LINK_CREATE.pack(
            prog_fd=program.fd, target_fd=sockets.fd, attach_type=hook
        )
        fd = syscall.try_bpf(syscall.Cmd.LINK_CREATE, record)
        if fd >= 0:
            return Link(fd, LinkKind.SOCKMAP, description)
    if not replace:
        _check_free(program, sockets, hook)
    return _direct(program, sockets, hook, place)


def _hook(program: Program) -> AttachKind:
    if program.spec.attach_kind is not None:
        return program.spec.attach_kind
    if program.spec.kind is ProgramKind.SK_MSG:
        return AttachKind.SK_MSG_VERDICT
    section = program.spec.section
    raise AttachError(
        f"program {program.name!r} ({section}) does not say what it is for: write "
        "sk_skb/verdict, sk_skb/stream_verdict or sk_skb/stream_parser"
    )


def _check_free(program: Program, sockets: AnyMap, hook: AttachKind) -> None:
    """BPF_PROG_ATTACH would put the program in the place of another without a word."""
    from beewire.bpf.kernel.links.query import others, query  # noqa: PLC0415 - older kernels

    if who := others(query(sockets.fd, hook)):
        raise AttachError(
            f"cannot attach {program.name!r} to map {sockets.name!r}: another program is "
            f"there already: {who}. update() of its link puts this one in its place; "
            "detach.sockmap() takes one off that no link holds"
        )


def _direct(program: Program, sockets: AnyMap, hook: AttachKind, place: str) -> Link:
    """What the map holds from now on: it goes with the map, not with the process."""
    from beewire.bpf.kernel.links.cgroup_direct import end  # noqa: PLC0415 - older kernels
    from beewire.bpf.kernel.links.direct import DirectLink  # noqa: PLC0415

    target = syscall.duplicate(sockets.fd)

    def attach(other: Program, about: str) -> None:
        record = attr.PROG_ATTACH.pack(
            target_fd=target, attach_bpf_fd=other.fd, attach_type=hook
        )
        try:
            syscall.bpf(syscall.Cmd.PROG_ATTACH, record, about, ("CAP_NET_ADMIN",))
        except NotPermitted:
            raise
        except KernelError as error:
            if error.errno == errno.EINVAL and hook is AttachKind.SK_SKB_VERDICT:
                what = "programs of sk_skb/verdict (sk_skb/stream_verdict is older)"
                raise NotSupported(errno.EINVAL, what, "5.13") from error
            raise attach_error(error, other, place) from error

    def tell(number: int) -> "SockmapInfo":
        from beewire.bpf.kernel.links.info import SockmapInfo  # noqa: PLC0415 - rare

        found = attr.MAP_INFO.integer(syscall.read_info(target, attr.MAP_INFO), "id")
        return SockmapInfo(LinkKind.UNSPEC, 0, number, hook, found)

    return DirectLink(
        program,
        "sockmap.attach",
        f"{program.name!r} on {place}",
        put=lambda: attach(program, f"attach {program.name!r} to {place}"),
        take_off=lambda own: end(
            target, hook, own, f"take {program.name!r} off {place}"
        ),
        replace=lambda other, _own: attach(
            other, f"put {other.name!r} in the place of {program.name!r} on {place}"
        ),
        tell=tell,
        held_open=(lambda: os.close(target),),
    )
