"""Reads of the context: each field once, as long as nothing may have changed it.

Fields that the program never writes, in a program that hands its context to no helper
that may write it, are values like any other; the rest hold until the next write or call.
"""

from beewire.bpf.ir import (
    Block,
    Call,
    CallKind,
    Function,
    Kind,
    Load,
    Op,
    Param,
    Space,
    Store,
)
from beewire.hints import Callable

# Helpers that take the context and leave it as it is (`enum bpf_func_id`).
_HARMLESS = frozenset(
    (
        12,  # tail_call, which comes back only where it did nothing
        25,  # perf_event_output
        27,  # get_stackid
        46,  # get_socket_cookie
        47,  # get_socket_uid
        52,  # sk_redirect_map
        53,  # sock_map_update
        60,  # msg_redirect_map
        64,  # bind
        70,  # sock_hash_update
        71,  # msg_redirect_hash
        72,  # sk_redirect_hash
        122,  # get_netns_cookie
    )
)

_Key = tuple[object, ...]
Number = Callable[[Op, _Key], Op]


class ContextReads:
    """Which context fields are known where."""

    __slots__ = ("ends", "known", "mutable", "written")

    def __init__(self, function: Function) -> None:
        self.written: list[tuple[int, int]] = []
        self.mutable = False
        for block in function.blocks:
            for op in block.ops:
                if isinstance(op, Store):
                    if op.space is Space.CTX:
                        self.written.append((op.offset, op.offset + op.size))
                elif isinstance(op, Call) and may_write(op):
                    self.mutable = True
        self.known: dict[_Key, Op] = {}
        self.ends: dict[Block, dict[_Key, Op]] = {}

    def enter(self, block: Block) -> None:
        """Begin with what the only predecessor knew."""
        before = self.ends.get(block.preds[0]) if len(block.preds) == 1 else None
        self.known = dict(before) if before else {}

    def leave(self, block: Block) -> None:
        """Keep for the successors what is known."""
        if self.known:
            self.ends[block] = self.known

    def load(self, op: Load, number: Number, out: list[Op]) -> Op:
        """The value that `op` reads: an earlier read, or `op` itself, put here."""
        key = ("ctx", op.args[0], op.offset, op.size, op.signed)
        if not self.mutable and not _overlap(self.written, op.offset, op.size):
            return number(op, key)
        found = self.known.get(key)
        if found is not None:
            return found
        self.known[key] = op
        out.append(op)
        return op

    def store(self, op: Store) -> None:
        """Forget what the store may change."""
        if op.space is Space.CTX and self.known:
            written = [(op.offset, op.offset + op.size)]
            self.known = {
                key: load
                for key, load in self.known.items()
                if not (isinstance(load, Load) and _hit(written, load))
            }

    def call(self, op: Call) -> None:
        """Forget all at a call that may write the context."""
        if self.known and may_write(op):
            self.known = {}


def may_write(op: Call) -> bool:
    """Whether a call may change the context."""
    if op.call is CallKind.HELPER and op.target in _HARMLESS:
        return False
    # A callback has the context from memory.
    return any(
        isinstance(arg, Param | Load) and arg.kind is Kind.PTR for arg in op.args
    )


def _hit(ranges: list[tuple[int, int]], load: Load) -> bool:
    return _overlap(ranges, load.offset, load.size)


def _overlap(ranges: list[tuple[int, int]], offset: int, size: int) -> bool:
    return any(start < offset + size and offset < end for start, end in ranges)
