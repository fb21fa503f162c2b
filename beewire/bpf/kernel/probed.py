"""The running kernel as a Target: what the compiler asks for is tried, once a process.

A question is one BPF_PROG_LOAD of a few instructions, 30 us to 60 us; most programs ask
one or two.
"""

from __future__ import annotations

import errno
import os

from beewire.bpf import isa
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.object import PLAIN, ProgramKind, Target, target
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.isa import Insn
    from beewire.hints import Callable

_BPF_LOOP = 181
_SKB_CB = 48  # __sk_buff.cb, which socket filters may write


def try_program(
    insns: tuple[Insn, ...],
    kind: ProgramKind = ProgramKind.SOCKET_FILTER,
    **fields: int,
) -> int:
    """BPF_PROG_LOAD of a program without maps: a descriptor or -errno."""
    code, terms = bytearray(isa.encode(insns)), bytearray(b"GPL\0")
    record = attr.PROG_LOAD.pack(
        prog_type=kind,
        insn_cnt=len(code) // 8,
        insns=syscall.address(code),
        license=syscall.address(terms),
        **fields,
    )
    return syscall.try_load(record)


def try_level(level: int) -> int:
    """Try instructions of v1 to v4: a descriptor or -errno."""
    zero, end = isa.mov_imm(0, 0), isa.exit_insn()
    match level:
        case 1:
            return try_program((zero, end))
        case 2:
            less = isa.jump_imm(isa.JumpOp.JLT, 0, 1, 0)
            return try_program((zero, less, end))
        case 3:
            equal = isa.jump_imm(isa.JumpOp.JEQ, 0, 0, 0, bits=32)
            return try_program((zero, equal, end))
        case _:
            return try_program(
                (
                    zero,
                    isa.movsx(0, 0, 8),
                    isa.sdiv_imm(0, 3),
                    isa.bswap(0, 16),
                    isa.jump_long(0),
                    end,
                )
            )


def try_feature(name: str) -> int:
    """Try one of `object.FEATURES`: a descriptor or -errno."""
    return _PROBES[name]()


def _after(*insns: Insn) -> int:
    return try_program((*insns, isa.mov_imm(0, 0), isa.exit_insn()))


def _may_goto() -> int:
    return _after(isa.may_goto(0))


def _iterators() -> int:
    # Their BTF ids are needed to call them, too.
    from beewire.bpf.btf import Kind  # noqa: PLC0415 - for kernels without may_goto
    from beewire.bpf.kernel.btf_cache import kernel_index  # noqa: PLC0415
    from beewire.errors import BeewireError  # noqa: PLC0415

    names = ("bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy")
    try:
        found = [kernel_index().find(name, Kind.FUNC) for name in names]
    except BeewireError:
        return -errno.ENOENT
    if None in found:
        return -errno.EOPNOTSUPP
    new, step, destroy = (isa.call_kfunc(number) for number in found if number)
    place = (isa.mov_reg(1, 10), isa.alu_imm(isa.AluOp.ADD, 1, -8))
    bounds = (isa.mov_imm(2, 0), isa.mov_imm(3, 1))
    return _after(*place, *bounds, new, *place, step, *place, destroy)


def _loop_helper() -> int:
    # Where there is the helper, it is its arguments that are missed.
    result = _after(isa.call_helper(_BPF_LOOP))
    return try_level(1) if result == -errno.EACCES else result


def _fetch() -> int:
    where = (isa.AtomicOp.ADD, isa.Size.DW, 10, -8, 1)
    return _after(
        isa.store_imm(isa.Size.DW, 10, -8, 0),
        isa.mov_imm(1, 1),
        isa.atomic(*where, fetch=True),
    )


def _acquire() -> int:
    return _after(
        isa.store_imm(isa.Size.DW, 10, -8, 0), isa.load_acquire(isa.Size.DW, 1, 10, -8)
    )


def _context_stores() -> int:
    return _after(isa.store_imm(isa.Size.W, 1, _SKB_CB, 0))


_PROBES: dict[str, Callable[[], int]] = {
    target.MAY_GOTO: _may_goto,
    target.ITERATORS: _iterators,
    target.LOOP_HELPER: _loop_helper,
    target.FETCH: _fetch,
    target.ACQUIRE: _acquire,
    target.CONTEXT_STORES: _context_stores,
}


class Running(Target):
    """What the running kernel has, asked when the compiler asks.

    To a process that may load nothing it is `Target()`: the load will say what is missing.
    """

    __slots__ = ("_highest", "_known", "_lowest")

    def __init__(self) -> None:
        super().__init__()
        self._highest, self._lowest = 1, 5  # taken so far, refused so far
        self._known: dict[str, bool] = {}

    def __repr__(self) -> str:
        return "<the running kernel as a target>"

    def at_least(self, level: int) -> bool:
        """Whether the kernel takes instructions of this level."""
        if self._highest < level < self._lowest:
            if _taken(try_level(level), forbidden=PLAIN.at_least(level)):
                self._highest = level
            else:
                self._lowest = level
        return level <= self._highest

    def has(self, feature: str) -> bool:
        """Whether the kernel has one of FEATURES."""
        known = self._known.get(feature)
        if known is None:
            result = try_feature(feature)
            known = _taken(result, forbidden=PLAIN.has(feature))
            self._known[feature] = known
        return known


def _taken(result: int, *, forbidden: bool) -> bool:
    if result >= 0:
        os.close(result)
    return forbidden if result == -errno.EPERM else result >= 0


_running = Running()


def running() -> Target:
    """The running kernel; each of its answers is kept for the life of the process."""
    return _running
