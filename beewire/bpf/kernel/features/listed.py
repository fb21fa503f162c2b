"""What the kernel's own types list: names that are in no enum are not in the kernel.

That a name is listed says only that the kernel knows it; whether it can do it, too, is
for a probe to find out.
"""

from functools import cache

from beewire.bpf.btf import Enum, Index, Kind
from beewire.bpf.kernel.btf_cache import kernel_index
from beewire.bpf.kernel.features.feature import Outcome, no
from beewire.errors import BeewireError


def types() -> Index | None:
    """The running kernel's types, or None where it tells none."""
    try:
        return kernel_index()
    except BeewireError:
        return None


def type_id(name: str, kind: Kind) -> int | None:
    """The BTF id of one of the kernel's types, or None."""
    index = types()
    return None if index is None else index.find(name, kind)


def missing_type(name: str) -> str:
    """Why there is no id for `name`."""
    if types() is None:
        return "the kernel tells no types: CONFIG_DEBUG_INFO_BTF is off"
    return f"the kernel has no {name}"


@cache
def _names(enum: str) -> frozenset[str] | None:
    index = types()
    node = index.lookup(enum, Enum) if index else None
    return frozenset(value.name for value in node.values) if node else None


def absent(enum: str, name: str) -> Outcome | None:
    """No, if the kernel tells its types and `enum` there has no `name`; else None."""
    names = _names(enum)
    if names is None or name in names or f"{name}_DEPRECATED" in names:
        return None
    return no("this kernel's own types do not list it")
