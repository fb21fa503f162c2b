"""Which helpers and kernel functions a type of program may call.

The call stands alone in a program: that its arguments are missing is complained about
only where the verifier lets such a program call the function at all.
"""

import os
from collections.abc import Callable
from functools import cache

from beewire.bpf import isa
from beewire.bpf.btf import DeclTag, Func, Index, Kind
from beewire.bpf.isa.helper_names import HELPER_NAMES
from beewire.bpf.isa.helper_table import HELPERS
from beewire.bpf.kernel import modules, privilege, syscall, versions
from beewire.bpf.kernel.features import store
from beewire.bpf.kernel.features.feature import (
    Answer,
    Feature,
    Outcome,
    ask,
    judge,
    no,
    yes,
)
from beewire.bpf.kernel.features.listed import missing_type, type_id, types
from beewire.bpf.kernel.features.programs import TRIVIAL, program_type, shapes
from beewire.bpf.kernel.probed import try_program
from beewire.bpf.object import ProgramKind
from beewire.errors import UsageError

# Short enough that no memory is asked of the kernel: a page more would take longer than
# the probe. BPF_LOG_STATS prints what is wrong, and no instructions.
_LOG_SIZE = 1 << 10
_LOG_STATS = 4
# How the verifier says that a program may not call a helper, since 5.10.
_NO_HELPER = (
    *("unknown func", "invalid func", "cannot use helper", "not allowed in probe"),
    "might sleep",
)
_NO_KFUNC = (
    *("is not allowed", "not a function", "does not support calling kernel function"),
    *("is not a kernel function", "cannot call kernel function", "must be GPL"),
    *("might sleep", "cannot find address", "sleepable", "reserved fields"),
    "device-bound",
)
_KFUNC = "bpf_kfunc"  # the tag that marks them in BTF, since Linux 6.10
_EXTENSION = "a program that extends another may call what that one may"


def helper(which: int | str, kind: ProgramKind) -> Feature:
    """Whether programs of this kind may call a helper, given by number or name.

    For kinds of several hooks (TRACING, LSM, CGROUP_SOCK_ADDR, ...): at one of them.

    Raises:
        UsageError: There is no helper of this name.
    """
    number, since = _helper(which)
    name = HELPER_NAMES[number] if number < len(HELPER_NAMES) else f"#{number}"
    kept = store.known(_mask_key(kind))
    if kept is not None and number < len(HELPER_NAMES):
        answer = Answer.YES if int(kept, 16) >> number & 1 else Answer.NO
        reason = "" if answer is Answer.YES else _unavailable(name, kind)
        what = f"helper {name} in {kind.name} programs"
        return Feature(what, since, answer, reason, "helper")
    return ask(
        "helper",
        f"{name} in {kind.name} programs",
        since,
        lambda: _try_helper(number, kind),
    )


def helpers(kind: ProgramKind) -> tuple[str, ...]:
    """The names of all helpers that programs of this kind may call; 5 ms, then kept."""
    kept = store.known(_mask_key(kind))
    if kept is None:
        # Where the kernel may not be asked there is nothing to keep.
        if not program_type(kind) or kind is ProgramKind.EXT:
            return ()
        numbers = range(1, len(HELPER_NAMES))
        found = (n for n in numbers if _try_helper(n, kind).answer is Answer.YES)
        kept = f"{sum(1 << n for n in found):x}"
        store.keep(_mask_key(kind), kept)
    mask = int(kept, 16)
    return tuple(name for n, name in enumerate(HELPER_NAMES) if mask >> n & 1)


def _mask_key(kind: ProgramKind) -> str:
    return f"helpers {kind.name}"


def _helper(which: int | str) -> tuple[int, str]:
    if isinstance(which, int):
        known = 0 < which < len(HELPER_NAMES)
        return which, _row(HELPER_NAMES[which])[2] if known else ""
    name = which.removeprefix("bpf_")
    if name not in HELPER_NAMES[1:]:
        raise UsageError(f"there is no helper {which!r}")
    return int(_row(name)[1]), _row(name)[2]


def _row(name: str) -> list[str]:
    start = HELPERS.index(f"\n{name} ") + 1
    return HELPERS[start : HELPERS.index("\n", start)].split(" ")


def _unavailable(name: str, kind: ProgramKind) -> str:
    return f"program of this type cannot use helper bpf_{name} ({kind.name})"


def _try_helper(number: int, kind: ProgramKind) -> Outcome:
    return _try_call(isa.call_helper(number), kind, _NO_HELPER)


def _try_call(
    insn: isa.Insn, kind: ProgramKind, refusals: tuple[str, ...], fds: int = 0
) -> Outcome:
    """Whether any shape of a program of this kind may make a call."""
    if kind is ProgramKind.EXT:
        return no(_EXTENSION)
    usable, last = _usable(kind)
    for fields in usable:
        last = _try_shape(insn, kind, fields | {"fd_array": fds}, refusals)
        if last.answer is Answer.YES:
            return last
    return last


@cache
def _usable(kind: ProgramKind) -> tuple[list[dict[str, int]], Outcome]:
    """The shapes of a kind that load at all here, and why the last other does not."""
    found, last = [], no("programs of this kind cannot be loaded")
    for shape in shapes(kind):
        result = -1
        if shape.missing:
            last = no(shape.missing)
        else:
            result = try_program(TRIVIAL, kind, **shape.fields)
            if result < 0:
                last = judge(result, privilege.program_needs(kind))
        if result >= 0:
            os.close(result)
            found.append(shape.fields)
    return found, last


def _try_shape(
    insn: isa.Insn, kind: ProgramKind, fields: dict[str, int], refusals: tuple[str, ...]
) -> Outcome:
    log = bytearray(_LOG_SIZE)
    given = {"log_size": len(log), "log_buf": syscall.address(log)}
    result = try_program(
        (insn, *TRIVIAL), kind, log_level=_LOG_STATS, **fields, **given
    )
    if result >= 0:
        os.close(result)
        return yes()
    text = log.split(b"\0")[0].decode(errors="replace")
    refused = [
        line for line in text.split("\n") if any(word in line for word in refusals)
    ]
    if refused:
        return no(refused[0])
    # What is said of the call without naming it is about its arguments.
    return yes() if text else judge(result, privilege.program_needs(kind))


# --- kernel functions ---


def kfunc(name: str, kind: ProgramKind | None = None) -> Feature:
    """Whether the kernel, or a module that is loaded, has a function for programs.

    With `kind`: whether programs of that kind may call it.
    """
    found = versions.KFUNCS.find(f"\n{name} ") + 1
    since = versions.KFUNCS[found:].partition("\n")[0].split(" ")[1] if found else ""
    if kind is None:
        return ask("kfunc", name, since, lambda: _find(name))
    what = f"{name} in {kind.name} programs"
    return ask("kfunc", what, since, lambda: _try_kfunc(name, kind))


def kfuncs(kind: ProgramKind) -> tuple[str, ...]:
    """The names of all kernel functions that programs of this kind may call; as `helpers`."""
    key = f"kfuncs {kind.name}"
    kept = store.known(key)
    if kept is None:
        if not program_type(kind) or kind is ProgramKind.EXT:
            return ()
        here = [name for name in kfunc_names() if kfunc(name)]
        found = (n for n in here if _try_kfunc(n, kind).answer is Answer.YES)
        kept = " ".join(found)
        store.keep(key, kept)
    return tuple(kept.split())


@cache
def kfunc_names() -> tuple[str, ...]:
    """The names of all kernel functions: those of this kernel, and that others have."""
    index = types()
    lines = versions.KFUNCS.strip().split("\n")
    known = {line.partition(" ")[0] for line in lines}
    return tuple(sorted(known | set(_marked(index) if index else ())))


def _marked(index: Index) -> list[str]:
    """The functions that the kernel's types mark, those of its modules included."""
    mark = b"\0%b\0" % _KFUNC.encode()
    indexes = [index, *(own for _, own in modules.indexes_with(index, mark))]
    return [
        tag.to.name
        for each in indexes
        for number in each.flavours(_KFUNC, (Kind.DECL_TAG,))
        if isinstance(tag := each.type(number), DeclTag) and isinstance(tag.to, Func)
    ]


def _find(name: str) -> Outcome:
    index = types()
    if index is None:
        return no(missing_type(name))
    if marked := _marked_set():
        # No search for each of hundreds: what is not marked is none.
        return (
            yes()
            if name in marked
            else no("neither the kernel nor a loaded module has it")
        )
    if _number(name) is None:
        found = next(iter(_homes(index, name)), "")
        return yes() if found else no("neither the kernel nor a loaded module has it")
    # Older kernels do not mark them: one that some program may call is one.
    last = no("no type of program may call it")
    for kind in _LIKELY:
        outcome = _try_kfunc(name, kind)
        if outcome.answer is not Answer.NO:
            return outcome
        last = outcome
    return last


_LIKELY = (
    *(ProgramKind.TRACING, ProgramKind.SYSCALL, ProgramKind.SCHED_CLS),
    *(ProgramKind.XDP, ProgramKind.STRUCT_OPS, ProgramKind.LSM, ProgramKind.KPROBE),
    *(ProgramKind.CGROUP_SKB, ProgramKind.CGROUP_SOCK_ADDR, ProgramKind.SOCK_OPS),
)


@cache
def _number(name: str) -> int | None:
    """The id of one of the kernel's own functions: 1 ms each, which a search takes."""
    return type_id(name, Kind.FUNC)


@cache
def _marked_set() -> frozenset[str]:
    index = types()
    return frozenset(_marked(index) if index else ())


def _homes(index: Index, name: str) -> list[str]:
    """The loaded modules that have a function of this name."""
    text = b"\0%b\0" % name.encode()
    return [
        module
        for module, own in modules.indexes_with(index, text)
        if own.find(name, Kind.FUNC) is not None
    ]


def _try_kfunc(name: str, kind: ProgramKind) -> Outcome:
    index = types()
    if index is None:
        return no(missing_type(name))
    number = _number(name)
    if number is not None:
        return _try_call(isa.call_kfunc(number), kind, _NO_KFUNC)
    return _in_module(index, name, lambda found: _try_foreign(found, kind))


def _in_module(
    index: Index, name: str, then: Callable[[tuple[int, int]], Outcome]
) -> Outcome:
    found = modules.find_in_modules(index, name, Kind.FUNC)
    if found is None:
        return no("neither the kernel nor a loaded module has it")
    module, number = found
    with module:
        return then((number, module.fd))


def _try_foreign(found: tuple[int, int], kind: ProgramKind) -> Outcome:
    """A module's function: its BTF stands at place 1 of fd_array."""
    number, fd = found
    fds = bytearray(8)
    fds[4:] = fd.to_bytes(4, "little")
    call = isa.call_kfunc(number)._replace(off=1)
    return _try_call(call, kind, _NO_KFUNC, syscall.address(fds))
