"""Moves webs that found no register to the stack, or makes their values anew.

    v11 = *(u32 *)(r1 +4)             v20 = *(u32 *)(r1 +4)
    ...                               *(u64 *)(r10 -16) = v20
    call 5                    =>      call 5
    v12 += v11                        v21 = *(u64 *)(r10 -16)
                                      v12 += v21

Always all eight bytes, so that the verifier knows a pointer again. Between two calls in
a block one reload serves all. A constant or an address is simply made again.
"""

from beewire.bpf.codegen.again import Again
from beewire.bpf.codegen.coalesce import Webs
from beewire.bpf.codegen.colour import Colouring, colour
from beewire.bpf.codegen.liveness import Ranges
from beewire.bpf.codegen.machine import (
    ADDRESS,
    CALL,
    FIRST_VIRTUAL,
    FRAME,
    LD_IMM64,
    LDX,
    MOV,
    MOV_IMM,
    NONE,
    STX,
    Ins,
    Machine,
    Part,
)
from beewire.bpf.ir import Function, Span
from beewire.bpf.isa import AluOp, InsnClass

_MADE = frozenset((ADDRESS, LD_IMM64, MOV_IMM, int(InsnClass.ALU | AluOp.MOV)))


_SHARED_ROUNDS = 3  # then each reload serves one instruction, which always fits


class Room:
    """Makes room for what found no register, round by round."""

    __slots__ = ("again", "machine", "made", "rounds", "temporary")

    def __init__(self, machine: Machine, function: Function) -> None:
        self.machine = machine
        self.again = Again(machine, function)
        self.temporary: set[int] = set()
        self.made: dict[int, Ins] = {}
        self.rounds = 0

    def colour(self, ranges: Ranges, webs: Webs) -> Colouring:
        """Colour, knowing what is cheap to make anew and what must not be spilled."""
        self.made = _remakeable(ranges, webs, self.again)
        fixed = _fixed(self.temporary, webs) if self.temporary else set()
        return colour(ranges, webs, fixed, self.made.keys())

    def make(
        self, spilled: list[int], ranges: Ranges, alone: list[int], webs: Webs
    ) -> None:
        """Rewrite the code for the webs in `spilled`; `alone` are ranges by register.

        Of a web only those registers go to the stack that live across calls, if any
        does: the copies inside the web then become the loads and stores.
        """
        spiller = Spiller(self.machine, share=self.rounds < _SHARED_ROUNDS)
        members: dict[int, list[int]] = {web: [] for web in spilled}
        for register in range(FIRST_VIRTUAL, len(alone)):
            web = webs.find(register)
            if web in members:
                members[web].append(register)
        for web, registers in members.items():
            made = self.made.get(web)
            if made is not None and _is_at_hand(made, webs, members):
                spiller.made.update((register, made) for register in registers)
                continue
            crossing = [r for r in registers if alone[r] & ranges.calls]
            home = spiller.home(ranges.live[web])
            spiller.homes.update((register, home) for register in crossing or registers)
        spiller.spill()
        self.temporary |= spiller.temporary
        self.rounds += 1
        if self.rounds == _SHARED_ROUNDS:
            # What serves several instructions may be long, and in the way of the rest.
            self.temporary.clear()


def _is_at_hand(made: Ins, webs: Webs, spilled: dict[int, list[int]]) -> bool:
    """Whether what the instruction reads stays in its register."""
    return not any(webs.find(register) in spilled for register in made.reads)


def _fixed(temporary: set[int], webs: Webs) -> set[int]:
    """The webs of temporary registers only: spilling them again gains nothing."""
    roots: dict[int, bool] = {}
    for register in range(len(webs.parent)):
        root = webs.find(register)
        roots[root] = roots.get(root, True) and register in temporary
    return {root for root, alone in roots.items() if alone}


def _remakeable(ranges: Ranges, webs: Webs, again: Again) -> dict[int, Ins]:
    """Webs that one instruction makes anew: out of nothing, or from the context."""
    made: dict[int, Ins | None] = {}
    find = webs.find
    for ins in ranges.code:
        if ins.write < 0:
            continue
        web = find(ins.write)
        if ins.code == MOV and not ins.off and find(ins.src) == web:
            continue
        alone = web not in made
        made[web] = ins if alone and _is_made(ins, ranges, webs, again) else None
    return {web: ins for web, ins in made.items() if ins is not None}


def _is_made(ins: Ins, ranges: Ranges, webs: Webs, again: Again) -> bool:
    if ins.code in _MADE and not ins.reads:
        return True
    return again.makes(ins, ranges, webs)


class Spiller:
    """Rewrites the code: `homes` are registers that live on the stack, and where.

    `made` are those made anew where they are used, and by which instruction.
    """

    __slots__ = ("homes", "machine", "made", "places", "share", "temporary")

    def __init__(self, machine: Machine, *, share: bool) -> None:
        self.machine = machine
        self.share = share  # one reload serves until the next call
        self.made: dict[int, Ins] = {}
        self.temporary: set[int] = set()  # registers made here
        self.homes: dict[int, int] = {}
        self.places: list[tuple[int, int]] = []  # which instructions use which place

    def spill(self) -> None:
        """Rewrite all parts for what has a home or is made anew."""
        for part in self.machine.parts:
            self.rewrite(part)

    def home(self, live: int) -> int:
        """A stack place; webs that are never live together share one."""
        for i, (occupied, place) in enumerate(self.places):
            if not occupied & live:
                self.places[i] = (occupied | live, place)
                return place
        place = self.machine.place(8)
        self.places.append((live, place))
        return place

    def rewrite(self, part: Part) -> None:
        """Bring and keep values around each instruction."""
        out: list[Ins] = []
        held: dict[int, int] = {}
        homes, made = self.homes, self.made
        for ins in part.ins:
            register = ins.write
            home = homes.get(register)
            if register in made or (home is not None and self.stays(ins, home)):
                continue  # made where it is used; or copied to where it is
            self.read(ins, held, out)
            out.append(ins)
            if ins.code == CALL or not self.share:
                held.clear()
            if home is not None:
                held[home] = self.write(ins, home, out)
        if part.branch is not None:
            self.read(part.branch, held, out)
        part.ins = out

    def stays(self, ins: Ins, home: int) -> bool:
        """Whether this is a copy within one home."""
        return ins.code == MOV and not ins.off and self.homes.get(ins.src) == home

    def read(self, ins: Ins, held: dict[int, int], out: list[Ins]) -> None:
        """Bring what `ins` reads into registers."""
        for register in set(ins.reads):
            home = self.homes.get(register)
            key = home if home is not None else register
            if home is None and register not in self.made:
                continue
            if key not in held:
                held[key] = self.bring(register, home, ins.span, out)
            _replace(ins, register, held[key])

    def bring(
        self, register: int, home: int | None, span: Span | None, out: list[Ins]
    ) -> int:
        """Load what is at home, or make it."""
        new = self.fresh()
        if home is not None:
            out.append(Ins(LDX[8], new, FRAME, home, 0, (FRAME,), new, span))
        else:
            made = self.made[register]
            fields = (made.code, new, made.src, made.off, made.imm)
            out.append(Ins(*fields, made.reads, new, span, made.note))
        return new

    def write(self, ins: Ins, home: int, out: list[Ins]) -> int:
        """Store what `ins` writes; gives the register that has it too."""
        new = ins.write
        if new not in self.temporary:  # else it is what `read` has brought
            new = self.fresh()
            ins.dst = ins.write = new
        out.append(Ins(STX[8], FRAME, new, home, 0, (FRAME, new), NONE, ins.span))
        return new

    def fresh(self) -> int:
        """A register that lives for a few instructions."""
        new = self.machine.new()
        self.temporary.add(new)
        return new


def _replace(ins: Ins, old: int, new: int) -> None:
    ins.reads = tuple(new if register == old else register for register in ins.reads)
    ins.moves = tuple((r, new if s == old else s) for r, s in ins.moves)
    if ins.dst == old:
        ins.dst = new
    if ins.src == old:
        ins.src = new
    if ins.write == old:
        ins.write = new
