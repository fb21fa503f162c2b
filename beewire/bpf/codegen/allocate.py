"""Register allocation: liveness, coalescing, colouring, and spilling until all fits."""

from beewire.bpf.codegen.again import Again
from beewire.bpf.codegen.coalesce import Webs, coalesce
from beewire.bpf.codegen.colour import colour
from beewire.bpf.codegen.liveness import Ranges, analyse
from beewire.bpf.codegen.machine import FIRST_VIRTUAL, Ins, Machine
from beewire.bpf.codegen.spill import Spiller, remakeable
from beewire.bpf.ir import Function

_SHARED_ROUNDS = 3  # then each reload serves one instruction, which always fits


def allocate(machine: Machine, function: Function) -> None:
    """Replace virtual registers by the machine's; adds spill code and its stack."""
    temporary: set[int] = set()
    again: Again | None = None
    rounds = 0
    while True:
        ranges = analyse(machine)
        alone = list(ranges.live)
        webs = coalesce(ranges)
        made = remakeable(ranges, webs, again)
        fixed = _fixed(temporary, webs) if temporary else temporary
        colouring = colour(ranges, webs, fixed, made.keys())
        if not colouring.spilled:
            break
        if again is None and machine.loads:
            again = Again(machine, function)
            made = remakeable(ranges, webs, again)
            colouring = colour(ranges, webs, fixed, made.keys())
        spiller = Spiller(machine, {})
        spiller.share = rounds < _SHARED_ROUNDS
        _choose(spiller, colouring.spilled, ranges, alone, webs, made)
        spiller.spill()
        temporary |= spiller.temporary
        rounds += 1
    colours = colouring.colours
    final = [colours[webs.find(register)] for register in range(machine.registers)]
    for ins in ranges.code:
        _paint(ins, final)


def _choose(
    spiller: Spiller,
    spilled: list[int],
    ranges: Ranges,
    alone: list[int],
    webs: Webs,
    made: dict[int, Ins],
) -> None:
    """Spill registers of the webs: only those that live across calls, if any does.

    The copies inside a web then become the loads and stores.
    """
    members: dict[int, list[int]] = {web: [] for web in spilled}
    for register in range(FIRST_VIRTUAL, len(alone)):
        web = webs.find(register)
        if web in members:
            members[web].append(register)
    for web, registers in members.items():
        if web in made and _is_at_hand(made[web], webs, members):
            spiller.made.update((register, made[web]) for register in registers)
            continue
        crossing = [r for r in registers if alone[r] & ranges.calls]
        home = spiller.home(ranges.live[web])
        spiller.homes.update((register, home) for register in crossing or registers)


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


def _paint(ins: Ins, colours: list[int]) -> None:
    ins.dst = colours[ins.dst]
    ins.src = colours[ins.src]
    if ins.write >= 0:
        ins.write = colours[ins.write]
    ins.reads = tuple([colours[register] for register in ins.reads])
    if ins.moves:
        ins.moves = tuple([(r, colours[source]) for r, source in ins.moves])
