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
from beewire.bpf.codegen.crowd import crowded, free_registers
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
from beewire.hints import Iterable

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
        share = self.rounds < _SHARED_ROUNDS
        spiller = Spiller(self.machine, ranges.live, share=share)
        if share:
            spilled = [*spilled, *crowded(ranges, webs, spilled)]
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
            spiller.webs.update((register, web) for register in crossing or registers)
        spiller.spill(ranges, free_registers(ranges, webs, members))
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
    """Rewrites the code: `webs` says which registers live on the stack, and for whom.

    `made` are those made anew where they are used, and by which instruction. Within a
    part a value stays in the register that it was brought to, as long as there is room:
    what is wanted last goes first (Belady), and is stored only if it was changed and is
    wanted again.
    """

    __slots__ = (
        "live",
        "machine",
        "made",
        "places",
        "share",
        "stored",
        "temporary",
        "webs",
    )

    def __init__(self, machine: Machine, live: list[int], *, share: bool) -> None:
        self.machine = machine
        self.live = live
        self.share = share  # one reload serves as long as there is room
        self.made: dict[int, Ins] = {}
        self.webs: dict[int, int] = {}
        self.temporary: set[int] = set()  # registers made here
        self.stored: dict[int, int] = {}  # the stack places of webs
        self.places: list[tuple[int, int]] = []  # which instructions use which place

    def spill(self, ranges: Ranges, room: list[int]) -> None:
        """Rewrite all parts; `room` counts free registers by instruction."""
        for part, start in zip(self.machine.parts, ranges.starts, strict=False):
            _Rewriting(self, part, start, room).run()

    def home(self, web: int) -> int:
        """A stack place; webs that are never live together share one."""
        if web not in self.stored:
            self.stored[web] = self.place(self.live[web])
        return self.stored[web]

    def place(self, live: int) -> int:
        """A place that is free wherever `live` says."""
        for i, (occupied, place) in enumerate(self.places):
            if not occupied & live:
                self.places[i] = (occupied | live, place)
                return place
        place = self.machine.place(8)
        self.places.append((live, place))
        return place

    def fresh(self) -> int:
        """A register that lives for a few instructions."""
        new = self.machine.new()
        self.temporary.add(new)
        return new


class _Rewriting:
    """One part, being rewritten: `held` are webs in registers, `dirty` those changed."""

    __slots__ = ("dirty", "held", "out", "part", "room", "spiller", "start", "uses")

    def __init__(
        self, spiller: Spiller, part: Part, start: int, room: list[int]
    ) -> None:
        self.spiller = spiller
        self.part = part
        self.start = start
        self.room = room
        self.out: list[Ins] = []
        self.held: dict[int, int] = {}
        self.dirty: set[int] = set()
        self.uses: dict[int, list[int]] = {}

    def run(self) -> None:
        """Bring and keep values around each instruction."""
        spiller, part = self.spiller, self.part
        code = [*part.ins, part.branch] if part.branch is not None else part.ins
        self.find_uses(code)
        for at, ins in enumerate(code, self.start):
            register = ins.write
            web = spiller.webs.get(register)
            if register in spiller.made or (web is not None and self.stays(ins, web)):
                continue  # made where it is used; or copied to where it is
            self.read(ins, at)
            if ins is part.branch:
                break
            if ins.code == CALL:
                self.leave(at, ins.span)
            else:
                self.release(ins, at)
            if web is not None:
                self.write(ins, web, at)
            self.out.append(ins)
            if not spiller.share:
                self.leave(at, ins.span)
        self.leave(self.start + len(code) - 1, code[-1].span if code else None)
        part.ins = self.out

    def find_uses(self, code: list[Ins]) -> None:
        """Where each web is read, last first."""
        key = self.key
        for at in range(len(code) - 1, -1, -1):
            for register in set(code[at].reads):
                if (web := key(register)) is not None:
                    self.uses.setdefault(web, []).append(self.start + at)

    def key(self, register: int) -> int | None:
        """What a register is held under: its web; itself, if it is made anew."""
        if register in self.spiller.made:
            return -register
        return self.spiller.webs.get(register)

    def stays(self, ins: Ins, web: int) -> bool:
        """Whether this is a copy within one web."""
        return ins.code == MOV and not ins.off and self.spiller.webs.get(ins.src) == web

    def read(self, ins: Ins, at: int) -> None:
        """Bring what `ins` reads into registers."""
        needed = {register: self.key(register) for register in set(ins.reads)}
        self.make_room(at, needed.values(), 0)
        for register, web in needed.items():
            if web is None:
                continue
            if web not in self.held:
                self.make_room(at, needed.values(), 1)
                self.held[web] = self.bring(register, web, ins.span)
            _replace(ins, register, self.held[web])

    def bring(self, register: int, web: int, span: Span | None) -> int:
        """Load what is at home, or make it."""
        new = self.spiller.fresh()
        if web >= 0:
            home = self.spiller.home(web)
            self.out.append(Ins(LDX[8], new, FRAME, home, 0, (FRAME,), new, span))
        else:
            made = self.spiller.made[register]
            fields = (made.code, new, made.src, made.off, made.imm)
            again = Ins(*fields, made.reads, new, span, made.note)
            apart = self.spiller.machine.apart
            if made in apart:
                apart[again] = apart[made]
            self.out.append(again)
        return new

    def write(self, ins: Ins, web: int, at: int) -> None:
        """Give what `ins` writes a register, unless it changes the one it reads."""
        if ins.write != self.held.get(web):
            self.held.pop(web, None)
            self.make_room(at, (web,), 1)
            self.held[web] = new = self.spiller.fresh()
            ins.dst = ins.write = new
        self.dirty.add(web)

    def release(self, ins: Ins, at: int) -> None:
        """Forget what is not wanted after this instruction."""
        for web in [w for w, register in self.held.items() if register in ins.reads]:
            if self.next_use(web, at) is None:
                del self.held[web]
                self.dirty.discard(web)

    def next_use(self, web: int, at: int) -> int | None:
        """Where the web is read next after `at`; beyond the part if only there."""
        uses = self.uses.get(web, [])
        while uses and uses[-1] <= at:
            uses.pop()
        if uses:
            return uses[-1]
        is_live = web >= 0 and self.spiller.live[web] >> at & 1
        return 1 << 30 if is_live else None

    def make_room(self, at: int, needed: Iterable[int | None], more: int) -> None:
        """Let go of what is wanted last, until there is room for so many more."""
        keep = set(needed)
        while len(self.held) + more > max(1, self.room[at]):
            others = [web for web in self.held if web not in keep]
            if not others:
                return
            last = max(others, key=lambda web: self.next_use(web, at - 1) or 1 << 31)
            self.let_go(last, at - 1, None)

    def let_go(self, web: int, at: int, span: Span | None) -> None:
        """Store the web if it was changed, and is wanted after `at`."""
        register = self.held.pop(web)
        if web in self.dirty:
            self.dirty.remove(web)
            if self.spiller.live[web] >> at & 1:
                home = self.spiller.home(web)
                reads = (FRAME, register)
                store = Ins(STX[8], FRAME, register, home, 0, reads, NONE, span)
                self.out.append(store)

    def leave(self, at: int, span: Span | None) -> None:
        """Let go of everything."""
        for web in list(self.held):
            self.let_go(web, at, span)


def _replace(ins: Ins, old: int, new: int) -> None:
    ins.reads = tuple(new if register == old else register for register in ins.reads)
    ins.moves = tuple((r, new if s == old else s) for r, s in ins.moves)
    if ins.dst == old:
        ins.dst = new
    if ins.src == old:
        ins.src = new
    if ins.write == old:
        ins.write = new
