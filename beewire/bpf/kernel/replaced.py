"""Functions of loaded programs, which freplace, fentry and fexit can be for."""

from copy import copy

from beewire.bpf.btf import Func, Index, Kind
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.btf_objects import types_of
from beewire.bpf.kernel.hooks import near
from beewire.bpf.kernel.program import Program
from beewire.bpf.kernel.target import Hook
from beewire.bpf.object import ObjectSpec, ProgramKind, ProgramSpec
from beewire.errors import AttachError, SpecError
from beewire.hints import Mapping


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


def hook_in(spec: ProgramSpec, target: Program | None) -> Hook:
    """What BPF_PROG_LOAD is told of a program for a function of `target`.

    Raises:
        AttachError: nobody said of which program, or it has no such function.
    """
    if target is None:
        raise AttachError(
            f"program {spec.name!r} ({spec.section}) replaces a function of another "
            f"program: say of which, load(..., targets={{{spec.name!r}: program}})"
        )
    found = function_id(target, spec.attach_to)
    return Hook(found, spec.attach_kind, module_fd=target.fd)


def retargeted(spec: ObjectSpec, targets: Mapping[str, Program | str]) -> ObjectSpec:
    """The object with the types of functions that are replaced, which have to be alike.

    Raises:
        SpecError: a target is for no program of the object.
    """
    found = copy(spec)
    found.programs = dict(spec.programs)
    for name, target in targets.items():
        if name not in spec.programs:
            raise SpecError(f"the object has no program {name!r} to give a target")
        program = spec.programs[name]
        if program.kind is not ProgramKind.EXT or program.signature is None:
            continue
        function = _function(spec, program.attach_to, target)
        if function is not None:
            program = found.programs[name] = copy(program)
            program.signature = Func(program.name, function.proto)
    return found


def _function(spec: ObjectSpec, name: str, target: Program | str) -> Func | None:
    if isinstance(target, Program):
        return _types(target).lookup(name, Func)
    known = spec.programs.get(name)
    return None if known is None else known.signature


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
