"""Addresses of the kernel's functions and variables, by /proc/kallsyms."""

from beewire.errors import NotPermitted
from beewire.symbols.kallsyms import hidden, pieces


def address_of(name: str) -> int | None:
    """The address of a symbol of the kernel, or None where it has none.

    Raises:
        NotPermitted: addresses are hidden from this process (kernel.kptr_restrict).
    """
    found = _line(name)
    if found is None:
        return None
    address = int(found.split()[0], 16)
    if not address and not name.startswith("__per_cpu"):
        raise hidden()
    return address


def has_symbol(name: str) -> bool:
    """Whether the kernel has a symbol of this name."""
    return _line(name) is not None


def _line(name: str) -> bytes | None:
    # "ffffffff81000000 T _text", and behind a tab the module, if it is one's.
    text = name.encode()
    try:
        for block in pieces():
            for ending in (b"\n", b"\t"):
                at = block.find(b" %b%b" % (text, ending))
                if at >= 0:
                    return block[block.rfind(b"\n", 0, at) + 1 : at]
    except NotPermitted:
        return None
    return None
