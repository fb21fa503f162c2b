"""What tracing hooks pass: arguments with types, registers, perf events."""

import os

from beewire.bpf.lang.contexts import Arguments, Context, Readable, outside
from beewire.bpf.lang.structs import Kernel
from beewire.bpf.lang.types import U64, u64
from beewire.hints import TYPE_CHECKING, ClassVar
from beewire.rows import Row

if TYPE_CHECKING:
    from beewire.symbols.stapsdt import Operand


class _Registers(Row):
    """Where a machine's pt_regs, as programs see it, has what; offsets in bytes.

    `call` are the arguments of system calls as user space passed them: what arm64 and
    RISC-V have in orig_x0 and orig_a0 is overwritten by the result where it was passed.
    """

    parameters: tuple[int, ...]
    call: tuple[int, ...]
    result: int
    ip: int
    sp: int
    fp: int
    size: int


_MACHINES = {
    "x86_64": _Registers(
        (112, 104, 96, 88, 72, 64),
        *((112, 104, 96, 56, 72, 64), 80),
        *(128, 152, 32, 168),
    ),
    "aarch64": _Registers(
        (0, 8, 16, 24, 32, 40, 48, 56),
        *((272, 8, 16, 24, 32, 40), 0),
        *(256, 248, 232, 272),
    ),
    "riscv64": _Registers(
        (80, 88, 96, 104, 112, 120, 128, 136),
        *((280, 88, 96, 104, 112, 120), 80),
        *(0, 16, 64, 256),
    ),
}
REGISTERS = _MACHINES.get(os.uname().machine, _MACHINES["x86_64"])


class BtfArguments(Arguments):
    """The arguments of tp_btf, fentry, fexit, LSM, iterators and struct_ops."""


class ProbeArguments(Arguments):
    """The arguments of a probed function, out of its registers."""

    typed: ClassVar[bool] = False

    @classmethod
    def place(cls, index: int) -> int:
        """Where the register of argument `index` lies.

        Raises:
            IndexError: It is passed on the stack.
        """
        return REGISTERS.parameters[index]


class SyscallArguments(Arguments):
    """The arguments of a system call, as user space passed them.

    The kernel's function has them in memory: its own argument is the address of the
    registers (ARCH_HAS_SYSCALL_WRAPPER; x86-64 since 4.17, arm64 since 4.19, RISC-V
    since 6.6).
    """

    typed: ClassVar[bool] = False

    @classmethod
    def place(cls, index: int) -> int:
        """Where argument `index` lies behind that address.

        Raises:
            IndexError: No system call has so many.
        """
        return REGISTERS.call[index]


class ReturnArguments(Arguments):
    """What a probed function returns: one parameter."""

    typed: ClassVar[bool] = False

    @classmethod
    def place(cls, index: int) -> int:
        """Where the register of the result lies.

        Raises:
            IndexError: `index` is not 0.
        """
        return (REGISTERS.result,)[index]


class PtRegs(Context):
    """`struct pt_regs`: the registers at a probe, by what they are for.

    `parm1` to `parm6` are a function's arguments, `ret` its result (at its return).
    """

    struct_name = "pt_regs"
    of_probes = True
    parm1 = Readable(REGISTERS.parameters[0], U64)
    parm2 = Readable(REGISTERS.parameters[1], U64)
    parm3 = Readable(REGISTERS.parameters[2], U64)
    parm4 = Readable(REGISTERS.parameters[3], U64)
    parm5 = Readable(REGISTERS.parameters[4], U64)
    parm6 = Readable(REGISTERS.parameters[5], U64)
    ret = Readable(REGISTERS.result, U64)
    ip = Readable(REGISTERS.ip, U64)
    sp = Readable(REGISTERS.sp, U64)
    fp = Readable(REGISTERS.fp, U64)


class Usdt(PtRegs, Arguments):
    """A static probe: `ctx.arg(0)` is its first argument, and registers as in `PtRegs`.

    `operands` say where the arguments are at the places that a program is compiled for;
    `problem` why that is not known.
    """

    typed: ClassVar[bool] = False
    operands: ClassVar["tuple[Operand, ...]"] = ()
    problem: ClassVar[str] = 'no file is known that has the probe: @usdt("path:a:b")'

    def arg(self, index: int, type: object = None) -> int:  # noqa: A002, ARG002
        """Argument number `index`, from 0, as an integer: of 64 bits, or a `type`."""
        outside("arg")


class PerfEvent(PtRegs):
    """`struct bpf_perf_event_data`: registers, and what the event counted."""

    struct_name = "bpf_perf_event_data"
    sample_period = Readable(REGISTERS.size, U64)
    addr = Readable(REGISTERS.size + 8, U64)


class SyscallArgs(Context):
    """The memory that user space passes to a syscall program: a Struct of your own.

    class Request(Struct):
        a: u32

    @syscall
    def answer(ctx: Request) -> int: ...
    """

    is_struct = True


class seq_file(Kernel):  # noqa: N801 - the kernel's name
    """Where an iterator writes: `seq_printf`, `seq_write`."""


class bpf_iter_meta(Kernel):  # noqa: N801 - the kernel's name
    """The first argument of every iterator.

    `seq` is where it writes; `seq_num` counts the objects before this one.
    """

    seq: seq_file
    session_id: u64
    seq_num: u64
