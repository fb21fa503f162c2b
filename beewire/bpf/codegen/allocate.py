"""Register allocation: liveness, coalescing, colouring, and spilling until all fits."""

from beewire.bpf.codegen.coalesce import Webs, coalesce
from beewire.bpf.codegen.colour import colour
from beewire.bpf.codegen.liveness import Ranges, analyse
from beewire.bpf.codegen.machine import Machine
from beewire.bpf.ir import Function
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.codegen.spill import Room


def allocate(machine: Machine, function: Function) -> None:
    """Replace virtual registers by the machine's; adds spill code and its stack."""
    room: Room | None = None
    while True:
        ranges = analyse(machine)
        alone = list(ranges.live)
        webs = coalesce(ranges)
        colouring = room.colour(ranges, webs) if room else colour(ranges, webs)
        if colouring.spilled and room is None:
            room = _room(machine, function)
            colouring = room.colour(ranges, webs)
        if not colouring.spilled or room is None:
            break
        room.make(colouring.spilled, ranges, alone, webs)
    _paint_all(ranges, webs, colouring.colours)


def _room(machine: Machine, function: Function) -> "Room":
    # Most programs need none, and start sooner without it.
    from beewire.bpf.codegen.spill import Room  # noqa: PLC0415

    return Room(machine, function)


def _paint_all(ranges: Ranges, webs: Webs, colours: list[int]) -> None:
    final = [colours[webs.find(register)] for register in range(len(colours))]
    for ins in ranges.code:
        ins.dst = final[ins.dst]
        ins.src = final[ins.src]
        if ins.write >= 0:
            ins.write = final[ins.write]
        ins.reads = tuple([final[register] for register in ins.reads])
        if ins.moves:
            ins.moves = tuple([(r, final[source]) for r, source in ins.moves])
