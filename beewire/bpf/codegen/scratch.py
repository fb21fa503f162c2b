"""Moves big slots from the stack into a map, where the 512 bytes do not suffice.

The map is a per-CPU array of one value:

    u64 missed                            runs that found no place
    { u64 taken; u8 slots[] } [LEVELS]    one place for each level of nesting on the CPU

A run takes the first place that is free by exchanging its word for 1, which nothing can
interrupt halfway: a program that interrupts this one on the same CPU, or takes its turn
there, finds the word set and takes the next place. It keeps the address that it has, so it
would be its place even on another CPU. Each way out stores 0. A run that finds no place is
counted, and returns what its hook takes as neutral.
"""

from beewire.bpf.ir import (
    Atomic,
    AtomicOp,
    Binary,
    BinOp,
    Block,
    Branch,
    Call,
    CallKind,
    CmpOp,
    Const,
    Copy,
    Function,
    GetLocal,
    Jump,
    Kind,
    Load,
    Local,
    MapRef,
    Op,
    Return,
    SetLocal,
    Slot,
    Space,
    Store,
    Zero,
)

# A task, a soft interrupt, a hard one, and one that cannot be masked.
LEVELS = 4
_WORD = 8
_LOOKUP = 1  # bpf_map_lookup_elem


def slots_of(function: Function) -> list[Slot]:
    """The slots that a function uses, in order."""
    found = [arg for op in function.ops() for arg in op.args if isinstance(arg, Slot)]
    return list(dict.fromkeys(found))


def move(
    function: Function, slots: list[Slot], name: str, neutral: int, place_size: int
) -> int:
    """Let `slots` of the function be in the map `name`; gives the size of its value.

    The places of one map are as large as its largest user wants: at least `place_size`.
    """
    offsets: dict[Op, int] = {}
    size = _WORD
    for slot in slots:
        offsets[slot] = size
        size += (slot.size + 7) & -8
    size = max(size, place_size)
    place = Local("scratch", Kind.PTR)
    for block in function.blocks:
        block.ops = _moved(block.ops, offsets, place)
    function.blocks[:0] = _take(function, place, size, name, neutral)
    return _WORD + LEVELS * size


def _moved(ops: list[Op], offsets: dict[Op, int], place: Local) -> list[Op]:
    out: list[Op] = []
    for op in ops:
        if isinstance(op, Return):
            base = _put(out, GetLocal(place, span=op.span))
            free = Store(base, 0, _WORD, Const(0), space=Space.MAP, span=op.span)
            out.append(free)
        for i, arg in enumerate(op.args):
            if arg in offsets:
                op.args[i] = _address(op, i, offsets[arg], place, out)
        out.append(op)
    return out


def _address(op: Op, index: int, offset: int, place: Local, out: list[Op]) -> Op:
    """The moved slot as argument `index` of `op`: its place, and an offset if need be."""
    base = _put(out, GetLocal(place, span=op.span))
    match op:
        case Load() | Store() | Zero() if index == 0:
            op.offset += offset
            op.space = Space.MAP
        case Atomic() if index == 0:
            op.offset += offset
        case Copy() if index == 0:
            op.dst_offset += offset
            op.dst_space = Space.MAP
        case Copy():
            op.src_offset += offset
            op.src_space = Space.MAP
        case _:
            return _put(out, Binary(BinOp.ADD, base, Const(offset), span=op.span))
    return base


def _take(
    function: Function, place: Local, size: int, name: str, neutral: int
) -> list[Block]:
    """The blocks that find a free place, in front of the function."""
    span = function.span
    entry, found, none, mine = (
        Block(f"scratch_{part}") for part in ("entry", "found", "none", "mine")
    )
    key, level = Slot("scratch key", 4, 4), Slot("scratch level", _WORD)
    entry.ops.append(Store(key, 0, 4, Const(0), space=Space.STACK, span=span))
    helper = Call(CallKind.HELPER, _LOOKUP, MapRef(name), key, kind=Kind.PTR, span=span)
    value = _put(entry.ops, helper)
    gone = Block("scratch_gone")
    gone.ops.append(Return(Const(neutral), span=span))
    entry.ops.append(Branch(CmpOp.EQ, value, Const(0), gone, found, span=span))
    blocks = [entry, gone]
    block = found
    for number in range(LEVELS):
        at = _WORD + number * size
        old = _put(block.ops, _exchange(value, at))
        won = Block(f"scratch_level{number}")
        store = Store(level, 0, _WORD, Const(number), space=Space.STACK, span=span)
        won.ops += [store, Jump(mine, span=span)]
        after = Block(f"scratch_try{number + 1}") if number < LEVELS - 1 else none
        block.ops.append(Branch(CmpOp.EQ, old, Const(0), won, after, span=span))
        blocks += [block, won]
        block = after
    none.ops += [
        Atomic(AtomicOp.ADD, value, 0, _WORD, Const(1), span=span),
        Return(Const(neutral), span=span),
    ]
    # What an atomic operation leaves in memory the kernel does not know: so it follows
    # the program for all levels at once.
    mine.ops.append(Atomic(AtomicOp.ADD, level, 0, _WORD, Const(0), span=span))
    number_of = _put(mine.ops, Load(level, 0, _WORD, space=Space.STACK, span=span))
    for op, by in ((BinOp.AND, LEVELS - 1), (BinOp.MUL, size), (BinOp.ADD, _WORD)):
        number_of = _put(mine.ops, Binary(op, number_of, Const(by), span=span))
    base = _put(mine.ops, Binary(BinOp.ADD, value, number_of, span=span))
    mine.ops += [
        SetLocal(place, base, span=span),
        Jump(function.blocks[0], span=span),
    ]
    return [*blocks, none, mine]


def _exchange(value: Op, offset: int) -> Atomic:
    return Atomic(AtomicOp.XCHG, value, offset, _WORD, Const(1), fetch=True)


def _put(out: list[Op], op: Op) -> Op:
    out.append(op)
    return op
