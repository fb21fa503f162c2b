"""Network interfaces by name or index, in the network namespace of this thread."""

from beewire.bpf.kernel import syscall
from beewire.errors import AttachError


def interface_index(interface: str | int) -> int:
    """The index of an interface, given by either.

    Raises:
        AttachError: there is none; the message names what is like it.
    """
    if isinstance(interface, int):
        found = interface if syscall.interface_name(interface) else 0
    else:
        found = syscall.interface_index(interface)
    if found == 0:
        raise AttachError(
            f"there is no network interface {interface!r} in this network "
            f"namespace{_advice(str(interface))}"
        )
    return found


def _advice(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - errors only

    from beewire.bpf.kernel import netlink  # noqa: PLC0415 - errors only

    known = netlink.interface_names()
    near = get_close_matches(name, known, 3, 0.5)
    if near:
        return f"; did you mean {' or '.join(repr(each) for each in near)}?"
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return f", which has {shown}; `ip link` shows all of them" if known else ""
