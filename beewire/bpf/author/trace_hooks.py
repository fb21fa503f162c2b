"""Decorators of tracing hooks: arguments with the kernel's types, probes, iterators, LSM.

    @tp_btf("sched_switch")
    def on_switch(preempt: bool, prev: task_struct, next: task_struct) -> None: ...

    @fexit("tcp_connect")
    def connected(sk: sock, result: i32) -> None: ...

The parameters are the kernel function's, in its order; those at the end may be left out.
They are compared with the kernel's types when the program is loaded.
"""

from __future__ import annotations

from beewire.bpf.author.program import Program, RawTracepointProgram
from beewire.bpf.author.signature import check_signature
from beewire.bpf.author.trace_programs import (
    FreplaceProgram,
    IteratorProgram,
    LsmCgroupProgram,
    PerfEventProgram,
    SyscallProgram,
    TracingProgram,
)
from beewire.bpf.lang.contexts import Context, RawTracepoint
from beewire.bpf.lang.trace_contexts import (
    BtfArguments,
    PerfEvent,
    SyscallArgs,
)
from beewire.bpf.object.sections import parse_section
from beewire.errors import SpecError
from beewire.hints import Any, Callable, TypeVar

F = TypeVar("F", bound=Callable[..., "int | None"])
P = TypeVar("P", bound="Program[Any]")


def mark(
    cls: type[P],
    section: str,
    function: object,
    context: type[Context] = BtfArguments,
    *,
    nothing: bool = False,
) -> P:
    """The Program that a decorator makes: `section` says its kind and target."""
    found = parse_section(section)
    name = section.partition("/")[0].partition(".")[0]
    program = cls(
        check_signature(function, name, context),
        kind=found.kind,
        section=section,
        context=context,
        attach_kind=found.attach_kind,
        attach_to=found.attach_to,
        flags=found.flags,
    )
    program.returns_nothing = nothing
    return program


def target_name(hook: str, target: object, example: str) -> str:
    """`target`, which has to be a name."""
    if isinstance(target, str) and target.isidentifier():
        return target
    shown = repr(target) if isinstance(target, str) else "the function itself"
    raise SpecError(f'@{hook} takes a name, as in @{hook}("{example}"), not {shown}')


def tp_btf(name: str) -> Callable[[F], TracingProgram[F]]:
    """A tracepoint with typed arguments: `@tp_btf("sched_switch")` (Linux 5.5).

    Raises:
        SpecError: `name` is no name of a tracepoint, which has no category here.
    """
    section = f"tp_btf/{target_name('tp_btf', name, 'sched_switch')}"
    return lambda function: mark(TracingProgram, section, function, nothing=True)


def fentry(name: str, *, sleepable: bool = False) -> Callable[[F], TracingProgram[F]]:
    """The entry of a kernel function: `@fentry("tcp_connect")` (Linux 5.5).

    `sleepable` programs may wait for user memory; few functions take them (Linux 5.10).

    Raises:
        SpecError: `name` is no name of a function.
    """
    section = sleepable_section(
        "fentry", target_name("fentry", name, "tcp_connect"), sleepable
    )
    return lambda function: mark(TracingProgram, section, function, nothing=True)


def fexit(name: str, *, sleepable: bool = False) -> Callable[[F], TracingProgram[F]]:
    """The return of a kernel function: all its arguments, then its result (Linux 5.5).

        @fexit("tcp_connect")
        def connected(sk: sock, result: i32) -> None: ...

    Raises:
        SpecError: `name` is no name of a function.
    """
    section = sleepable_section(
        "fexit", target_name("fexit", name, "tcp_connect"), sleepable
    )
    return lambda function: mark(TracingProgram, section, function, nothing=True)


def fmod_ret(name: str, *, sleepable: bool = False) -> Callable[[F], TracingProgram[F]]:
    """In the place of a function that may be made to fail (Linux 5.7).

    What is not 0 is returned instead of calling it; the last parameter is what an
    earlier program returned.

    Raises:
        SpecError: `name` is no name of a function.
    """
    target = target_name("fmod_ret", name, "security_file_open")
    section = sleepable_section("fmod_ret", target, sleepable)
    return lambda function: mark(TracingProgram, section, function)


def lsm(name: str, *, sleepable: bool = False) -> Callable[[F], TracingProgram[F]]:
    """A hook of the security modules: 0 allows, -EPERM and the like refuse (Linux 5.7).

        @lsm("file_open")
        def may_open(file: file) -> int: ...

    Raises:
        SpecError: `name` is no name of a hook.
    """
    section = sleepable_section("lsm", target_name("lsm", name, "file_open"), sleepable)
    return lambda function: mark(TracingProgram, section, function)


def lsm_cgroup(name: str) -> Callable[[F], LsmCgroupProgram[F]]:
    """As `lsm`, for the processes of a cgroup: 1 allows, 0 refuses (Linux 6.0).

    Raises:
        SpecError: `name` is no name of a hook.
    """
    section = f"lsm_cgroup/{target_name('lsm_cgroup', name, 'socket_bind')}"
    return lambda function: mark(LsmCgroupProgram, section, function)


def iter(  # noqa: A001 - libbpf's word for it
    name: str, *, sleepable: bool = False
) -> Callable[[F], IteratorProgram[F]]:
    r"""Run for every object of a kind: task, task_file, bpf_map, tcp, ... (Linux 5.8).

        @iter("task")
        def tasks(meta: bpf_iter_meta, task: task_struct | None) -> None:
            if task is not None:
                seq_printf(meta.seq, f"{task.pid}\n")

    `tasks.read()` gives what it wrote. It runs once more with None, at the end.

    Raises:
        SpecError: `name` is no name of an iterator.
    """
    section = sleepable_section("iter", target_name("iter", name, "task"), sleepable)
    return lambda function: mark(IteratorProgram, section, function)


def raw_tracepoint_writable(name: str) -> Callable[[F], RawTracepointProgram[F]]:
    """A raw tracepoint whose first argument is a buffer to write (Linux 5.2).

    Raises:
        SpecError: `name` is no name of a tracepoint.
    """
    target = target_name("raw_tracepoint_writable", name, "nbd_send_request")
    section = f"raw_tracepoint.w/{target}"
    return lambda function: mark(RawTracepointProgram, section, function, RawTracepoint)


def perf_event(function: F) -> PerfEventProgram[F]:
    """A sample of a perf event: `def f(ctx: PerfEvent)` (Linux 4.9).

    `f.attach("cpu-clock", frequency=99)` says of which, and how often.
    """
    return mark(PerfEventProgram, "perf_event", function, PerfEvent, nothing=True)


def syscall(function: F) -> SyscallProgram[F]:
    """Run by user space, with memory that it passes: `def f(ctx: Request)` (Linux 5.14).

    `Request` is a Struct; what the program writes there, user space reads:
    `result, request = f.run(Request(a=1))`.
    """
    return mark(SyscallProgram, "syscall", function, SyscallArgs)


def freplace(
    program: Program[Any], function: str = ""
) -> Callable[[F], FreplaceProgram[F]]:
    """In the place of a function of another program, or of all of it (Linux 5.6).

        @freplace(dispatcher, "first")
        def replacement(ctx: XdpContext) -> int: ...

    The function has to be a global subprogram that takes the context alone; by default
    it is the program itself. The other program is loaded first.

    Raises:
        SpecError: `program` is no program, or `function` no name.
    """
    if not isinstance(program, Program):
        raise SpecError(
            "@freplace takes a program and a function of it, as in "
            f'@freplace(dispatcher, "first"), not {program!r}'
        )
    target = target_name("freplace", function or program.name, "first")

    def decorate(replacement: F) -> FreplaceProgram[F]:
        section = f"freplace/{target}"
        made = mark(FreplaceProgram, section, replacement, program.context)
        made.target = program
        made.neutral = program.neutral
        return made

    return decorate


def sleepable_section(hook: str, target: str, sleepable: bool) -> str:  # noqa: FBT001 - passed on
    """The section of a hook's programs, those that may wait with ".s"."""
    name = f"{hook}.s" if sleepable else hook
    return f"{name}/{target}" if target else name
