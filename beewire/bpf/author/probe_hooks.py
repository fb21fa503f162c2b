"""Decorators of probes: kernel functions, functions and static probes of user space.

    @kprobe("tcp_connect")
    def connecting(sk: sock) -> None: ...

    @uretprobe("/bin/bash:readline")
    def read(line: u64) -> None: ...

Parameters are the probed function's, out of its registers; those at the end may be left
out. `def f(ctx: PtRegs)` has all registers instead.
"""

from __future__ import annotations

from beewire.bpf.author.probe_programs import (
    KprobeMultiProgram,
    KprobeProgram,
    KsyscallProgram,
    UprobeMultiProgram,
    UprobeProgram,
)
from beewire.bpf.author.trace_hooks import mark, sleepable_section, target_name
from beewire.bpf.author.usdt_program import UsdtProgram
from beewire.bpf.lang.trace_contexts import (
    ProbeArguments,
    ReturnArguments,
    SyscallArguments,
    Usdt,
)
from beewire.errors import SpecError
from beewire.hints import Callable, TypeVar

F = TypeVar("F", bound=Callable[..., "int | None"])


def kprobe(name: str, *, offset: int = 0) -> Callable[[F], KprobeProgram[F]]:
    """The entry of nearly any kernel function; `def f(sk: sock)` or `def f(ctx: PtRegs)`.

    Pointers are addresses here: what is behind them is read by CO-RE and probe reads.
    `offset` (bytes) is that of an instruction in it.

    Raises:
        SpecError: `name` is no name of a function.
    """
    target = _function("kprobe", name)
    section = f"kprobe/{target}+{offset}" if offset else f"kprobe/{target}"

    def decorate(function: F) -> KprobeProgram[F]:
        program = mark(KprobeProgram, section, function, ProbeArguments)
        program.place, program.offset = target, offset
        return program

    return decorate


def kretprobe(name: str) -> Callable[[F], KprobeProgram[F]]:
    """The return of a kernel function: `def f(result: i32)` or `def f(ctx: PtRegs)`.

    Raises:
        SpecError: `name` is no name of a function.
    """
    target = _function("kretprobe", name)

    def decorate(function: F) -> KprobeProgram[F]:
        section = f"kretprobe/{target}"
        program = mark(KprobeProgram, section, function, ReturnArguments)
        program.place, program.returns = target, True
        return program

    return decorate


def ksyscall(name: str) -> Callable[[F], KsyscallProgram[F]]:
    """The entry of a system call by its own name, whatever the kernel's function is called.

        @ksyscall("openat")
        def opening(directory: i32, path: u64, flags: i32) -> None: ...

    Parameters are the arguments that user space passed, as integers; those at the end
    may be left out. With `def f(ctx: PtRegs)`, `ctx.parm1` is where they are.

    Raises:
        SpecError: `name` is no name of a system call.
    """
    return _system_call("ksyscall", name, SyscallArguments)


def kretsyscall(name: str) -> Callable[[F], KsyscallProgram[F]]:
    """The return of a system call: `def f(result: i64)`, -errno where it failed.

    Raises:
        SpecError: `name` is no name of a system call.
    """
    return _system_call("kretsyscall", name, ReturnArguments)


def kprobe_multi(*names: str) -> Callable[[F], KprobeMultiProgram[F]]:
    """The entry of many kernel functions: `@kprobe_multi("tcp_*")`, or names (Linux 5.18).

    `helpers.get_func_ip(ctx)` tells which one it is, or a cookie. Where the kernel has no
    such links, each function has a probe of its own.
    """
    return _kernel_functions("kprobe.multi", names, ProbeArguments)


def kretprobe_multi(*names: str) -> Callable[[F], KprobeMultiProgram[F]]:
    """The return of many kernel functions (Linux 5.18)."""
    return _kernel_functions("kretprobe.multi", names, ReturnArguments)


def kprobe_session(*names: str) -> Callable[[F], KprobeMultiProgram[F]]:
    """Both entry and return of many kernel functions, with one program (Linux 6.10).

    What is not 0 at the entry leaves the return out. The kernel function
    `bpf_session_is_return` tells which of both it is; `def f(ctx: PtRegs)`.
    """
    return _kernel_functions("kprobe.session", names, ProbeArguments)


def uprobe(
    place: str = "", *, sleepable: bool = False
) -> Callable[[F], UprobeProgram[F]]:
    """The entry of a function in user space: `@uprobe("/bin/bash:readline")`.

    Its arguments are integers, or `user_str(address)`; `def f(ctx: PtRegs)` has all. The
    place can be given to `attach` as well.
    """
    return _user_function("uprobe", place, sleepable, ProbeArguments)


def uretprobe(
    place: str = "", *, sleepable: bool = False
) -> Callable[[F], UprobeProgram[F]]:
    """The return of a function in user space: `def f(result: u64)`."""
    return _user_function("uretprobe", place, sleepable, ReturnArguments)


def uprobe_multi(
    path: str = "", *names: str, sleepable: bool = False
) -> Callable[[F], UprobeMultiProgram[F]]:
    """The entry of many functions of a file: `@uprobe_multi("libc", "mem*")` (Linux 6.6).

    Where the kernel has no such links, each function has a probe of its own.
    """
    return _user_functions("uprobe.multi", path, names, sleepable, ProbeArguments)


def uretprobe_multi(
    path: str = "", *names: str, sleepable: bool = False
) -> Callable[[F], UprobeMultiProgram[F]]:
    """The return of many functions of a file (Linux 6.6)."""
    return _user_functions("uretprobe.multi", path, names, sleepable, ReturnArguments)


def uprobe_session(
    path: str = "", *names: str, sleepable: bool = False
) -> Callable[[F], UprobeMultiProgram[F]]:
    """Both entry and return of many functions of a file, with one program (Linux 6.13)."""
    return _user_functions("uprobe.session", path, names, sleepable, ProbeArguments)


def usdt(place: str, *, sleepable: bool = False) -> Callable[[F], UsdtProgram[F]]:
    """A static probe of user space, "path:provider:name".

        @usdt("/usr/bin/python3:python:gc__start")
        def collecting(generation: i32) -> None: ...

    Parameters are the probe's arguments, as integers; `def f(ctx: Usdt)` has them as
    `ctx.arg(0)`, and `user_str(ctx.arg(0))` reads a text. Where they are is read from the
    file when the program is compiled: one program for each form that they have there.

    Raises:
        SpecError: `place` is not of that form.
    """
    _check_static(place)
    section = sleepable_section("usdt", place, sleepable)

    def decorate(function: F) -> UsdtProgram[F]:
        program = mark(UsdtProgram, section, function, Usdt)
        program.place = place
        return program

    return decorate


Arguments = type[ProbeArguments] | type[ReturnArguments] | type[SyscallArguments]


def _function(hook: str, name: object) -> str:
    # Compilers add ".isra.0" and its kin to names.
    if isinstance(name, str) and all(
        part.isidentifier() or part.isdigit() for part in name.split(".")
    ):
        return name
    return target_name(hook, name, "tcp_connect")


def _check_static(place: object) -> None:
    if isinstance(place, str) and place.count(":") >= 2:
        return
    shown = repr(place) if isinstance(place, str) else "the function itself"
    raise SpecError(
        "@usdt takes path, provider and name, as in "
        f'@usdt("/usr/bin/python3:python:gc__start"), not {shown}'
    )


def _system_call(
    word: str, name: str, context: Arguments
) -> Callable[[F], KsyscallProgram[F]]:
    target = target_name(word, name, "openat")

    def decorate(function: F) -> KsyscallProgram[F]:
        program = mark(KsyscallProgram, f"{word}/{target}", function, context)
        program.place, program.returns = target, context is ReturnArguments
        return program

    return decorate


def _kernel_functions(
    word: str, names: tuple[str, ...], context: Arguments
) -> Callable[[F], KprobeMultiProgram[F]]:
    hook = word.replace(".", "_")
    if not names or not all(isinstance(name, str) for name in names):
        raise SpecError(f'@{hook} takes a pattern or names, as in @{hook}("tcp_*")')
    section = f"{word}/{names[0]}" if len(names) == 1 else word

    def decorate(function: F) -> KprobeMultiProgram[F]:
        program = mark(KprobeMultiProgram, section, function, context)
        program.places = names
        program.returns = context is ReturnArguments
        return program

    return decorate


def _user_function(
    word: str,
    place: str,
    sleepable: bool,  # noqa: FBT001 - passed on
    context: Arguments,
) -> Callable[[F], UprobeProgram[F]]:
    section = sleepable_section(word, place, sleepable)

    def decorate(function: F) -> UprobeProgram[F]:
        program = mark(UprobeProgram, section, function, context)
        program.place = place
        program.returns = context is ReturnArguments
        return program

    return decorate


def _user_functions(
    word: str,
    path: str,
    names: tuple[str, ...],
    sleepable: bool,  # noqa: FBT001 - passed on
    context: Arguments,
) -> Callable[[F], UprobeMultiProgram[F]]:
    place = f"{path}:{names[0]}" if len(names) == 1 else ""
    section = sleepable_section(word, place, sleepable)

    def decorate(function: F) -> UprobeMultiProgram[F]:
        program = mark(UprobeMultiProgram, section, function, context)
        program.path, program.places = path, names
        program.returns = context is ReturnArguments
        return program

    return decorate
