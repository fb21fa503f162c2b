"""Functions of loaded programs, which freplace, fentry and fexit can be for."""

from beewire.bpf.btf import Index, Kind
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.btf_objects import types_of
from beewire.bpf.kernel.hooks import near
from beewire.bpf.kernel.program import Program
from beewire.errors import AttachError


def function_id(target: Program, function: str) -> int:
    """The BTF id, in the types of `target`, of one of its functions.

    Raises:
        AttachError: it has none of that name, or its types cannot be read.
    """
    index = _types(target)
    found = index.find(function, Kind.FUNC)
    if found is None:
        known = list(index.names(Kind.FUNC))
        hint = near(function, known)
        there = f"did you mean {hint}?" if hint else f"there are: {', '.join(known)}"
        raise AttachError(
            f"program {target.name!r} has no function {function!r}; {there}"
        )
    return found


def _types(target: Program) -> Index:
    info = syscall.read_info(target.fd, attr.PROG_INFO)
    found = types_of(attr.PROG_INFO.integer(info, "btf_id"))
    if found is None:
        raise AttachError(
            f"the types of program {target.name!r} cannot be read: it was loaded "
            "without (BTF), or CAP_SYS_ADMIN is missing; without them none of its "
            "functions can be replaced or traced"
        )
    return found
