"""Programs and the kernel functions that they hook: does it exist, what does it pass?

A program that types its arguments reads what is behind them by the offsets of those
types: the wrong struct would read nonsense without complaint, so it is refused here.
"""

from beewire.bpf.btf import (
    Enum,
    Func,
    FuncProto,
    Index,
    Int,
    Kind,
    Param,
    Ptr,
    Struct,
    Type,
    Union,
    strip,
)
from beewire.bpf.object import AttachKind, ProgramSpec
from beewire.bpf.object.spec import Argument
from beewire.errors import AttachError, SpecError

# Hooks that pass, after the arguments, what was returned.
_WITH_RESULT = (
    *(AttachKind.TRACE_FEXIT, AttachKind.MODIFY_RETURN),
    *(AttachKind.LSM_MAC, AttachKind.LSM_CGROUP),
)


def missing(program: ProgramSpec, index: Index, prefix: str, kind: Kind) -> AttachError:
    """The error for a hook that this kernel does not have."""
    name = program.attach_to
    similar = near(name, names_of(index, prefix, kind))
    hint = f"did you mean {similar}?" if similar else (
        "it may be inlined, in a module that is not loaded, or named otherwise"
    )  # fmt: skip
    return AttachError(
        f"program {program.name!r} cannot hook {name!r}: this kernel's types have no "
        f"{prefix + name!r}; {hint}"
    )


def names_of(index: Index, prefix: str, kind: Kind) -> list[str]:
    """The names, without `prefix`, of all types of this kind."""
    found = index.names(kind)
    return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]


def near(name: str, known: list[str]) -> str:
    """Up to three of `known` that look like `name`, or ""."""
    from difflib import get_close_matches  # noqa: PLC0415 - errors only

    # Among the 60 000 functions of a kernel only the likely ones are compared.
    words = [part for part in name.split("_") if len(part) > 2]
    likely = [each for each in known if any(word in each for word in words)]
    found = get_close_matches(name, likely or known, 3, 0.7)
    return " or ".join(repr(each) for each in found)


def check_arguments(program: ProgramSpec, index: Index, type_id: int) -> None:
    """Make sure that the hook passes what the program's parameters say.

    Raises:
        SpecError: it does not; the message shows what to write.
    """
    proto = prototype(index.type(type_id))
    if proto is None:
        return
    params = list(proto.params)
    if program.attach_kind is AttachKind.TRACE_RAW_TP:
        # The typedef has no names; the function that calls the programs may.
        caller = index.lookup(f"__bpf_trace_{program.attach_to}", Func)
        if caller is not None and len(caller.proto.params) == len(params):
            params = list(caller.proto.params)
        params = params[1:]  # void *__data, which programs do not see
    check_prototype(program, [(each.name, each.type) for each in params], proto.returns)


def check_prototype(
    program: ProgramSpec,
    passed: list[tuple[str, Type | None]],
    result: Type | None,
) -> None:
    """Compare the program's parameters with what is passed: names and types."""
    shown = signature(program.name, passed)
    if program.attach_kind in _WITH_RESULT and strip(result) is not None:
        passed = [*passed, ("result", result)]
        shown = signature(program.name, passed)
    given = program.arguments
    what = f"program {program.name!r} ({program.section})"
    if len(given) > len(passed):
        message = (
            f"{what} takes {len(given)} arguments, the kernel passes {len(passed)}"
        )
        raise SpecError(f"{message}: write {shown}")
    _check_prefix(given, passed, what, shown)


def _check_prefix(
    given: tuple[Argument, ...],
    passed: list[tuple[str, Type | None]],
    what: str,
    shown: str,
) -> None:
    for argument, (_, type_) in zip(given, passed, strict=False):
        if isinstance(strip(type_), Struct | Union):
            message = (
                f"{what}: {argument.name!r} and what follows it is passed by value"
            )
            raise SpecError(f"{message}, which has no form here: write {shown}")
        if not fits(argument, type_):
            message = f"{what}: parameter {argument.name!r} is {told(argument)}"
            raise SpecError(
                f"{message}, the kernel passes {python_type(type_)}: write {shown}"
            )


def check_function(declared: Func, found: Type | None) -> None:
    """Make sure that a kernel function takes and returns what a declaration says.

    Raises:
        SpecError: it does not; the message shows what to write.
    """
    proto = prototype(found)
    if proto is None:
        return
    if not callable_as(declared, proto):
        named = [(each.name, each.type) for each in proto.params]
        returned = (
            "None" if strip(proto.returns) is None else python_type(proto.returns)
        )
        shown = f"{signature(declared.name, named)} -> {returned}"
        message = (
            f"the kernel function {declared.name!r} is declared otherwise than it is"
        )
        raise SpecError(f"{message}: write {shown}")


def callable_as(declared: Func, proto: FuncProto) -> bool:
    """Whether a call as declared is one that the kernel's function takes."""
    params = declared.proto.params
    return (
        alike(declared.proto.returns, proto.returns)
        and len(params) == len(proto.params)
        and all(
            is_ignored(theirs) or alike(ours.type, theirs.type)
            for ours, theirs in zip(params, proto.params, strict=True)
        )
    )


def is_ignored(param: Param) -> bool:
    """Whether the verifier takes anything for it (Documentation/bpf/kfuncs.rst)."""
    return param.name.endswith("__ign")


def alike(ours: Type | None, theirs: Type | None) -> bool:
    """Whether a value of one type may be passed for the other."""
    ours, theirs = strip(ours), strip(theirs)
    if isinstance(ours, Ptr) and isinstance(theirs, Ptr):
        names = [getattr(strip(each.to), "name", "") for each in (ours, theirs)]
        plain = [name.partition("___")[0] for name in names]
        composite = isinstance(strip(theirs.to), Struct | Union)
        # An opaque pointer, and memory whose type has another name in Python, will do.
        return not composite or not plain[0] or plain[0] == plain[1] or _is_ours(ours)
    if isinstance(ours, Int | Enum) and isinstance(theirs, Int | Enum):
        return ours.size == theirs.size
    return ours is None and theirs is None


def _is_ours(pointer: Ptr) -> bool:
    """Whether it points to a Struct of Python: all of its members are laid out."""
    target = strip(pointer.to)
    return isinstance(target, Struct) and not target.name.islower()


def fits(argument: Argument, type_: Type | None) -> bool:
    """Whether the parameter can hold what is passed."""
    found = strip(type_)
    if argument.struct:
        target = strip(found.to) if isinstance(found, Ptr) else None
        name = argument.struct.partition("___")[0]
        return isinstance(target, Struct | Union) and target.name == name
    if isinstance(found, Ptr):
        return argument.size == 8
    if not isinstance(found, Int | Enum):
        return False
    if isinstance(found, Enum) or found.bool:
        return argument.size == found.size
    return (argument.size, argument.signed) == (found.size, found.signed)


def told(argument: Argument) -> str:
    """A parameter's type as its author wrote it."""
    if argument.struct:
        return argument.struct
    return f"{'i' if argument.signed else 'u'}{8 * argument.size}"


def signature(name: str, passed: list[tuple[str, Type | None]]) -> str:
    """`def name(...)` as it has to be written for these arguments."""
    inner = ", ".join(
        f"{each or f'arg{number}'}: {python_type(type_)}"
        for number, (each, type_) in enumerate(passed)
    )
    return f"def {name}({inner})"


def python_type(type_: Type | None) -> str:
    """What programs call a type of the kernel."""
    found = strip(type_)
    if isinstance(found, Ptr):
        target = strip(found.to)
        return target.name if isinstance(target, Struct | Union) else "u64"
    if isinstance(found, Int) and found.bool:
        return "bool"
    if isinstance(found, Int | Enum):
        return f"{'i' if found.signed else 'u'}{8 * found.size}"
    return getattr(found, "name", "") or "void"


def prototype(found: Type | None) -> FuncProto | None:
    """The parameters and result of a function, a pointer to one, or a typedef of that."""
    found = strip(found)
    if isinstance(found, Func):
        found = found.proto
    if isinstance(found, Ptr):
        found = strip(found.to)
    return found if isinstance(found, FuncProto) else None
