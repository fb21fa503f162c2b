"""Faults put into our generator are found within 500 programs."""

from collections.abc import Callable

import pytest

from beewire.bpf.codegen import emit, machine
from beewire.bpf.codegen.spill import Spiller
from beewire.bpf.ir import CmpOp
from beewire.bpf.isa import JumpOp
from tests.bpf.fuzz import campaign

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

Plant = Callable[[pytest.MonkeyPatch], None]


def sign(patch: pytest.MonkeyPatch) -> None:
    """A signed comparison is made by the unsigned jump."""
    patch.setitem(machine.JUMP, CmpOp.SLT, JumpOp.JLT)


def spill(patch: pytest.MonkeyPatch) -> None:
    """Values that live at the same time are spilled to one place."""

    def home(spiller: Spiller, live: int) -> int:
        if not spiller.places:
            spiller.places.append((live, spiller.machine.place(8)))
        return spiller.places[0][1]

    patch.setattr(Spiller, "home", home)


def relocation(patch: pytest.MonkeyPatch) -> None:
    """Every map is taken for the first one that the function uses."""
    right = emit._note

    def note(slot: int, about: machine.Note, out: emit.Emitted) -> None:
        first = next((r.symbol for r in out.relocations if r.kind == "map"), None)
        is_map = about[0] == "map" and first is not None
        right(slot, ("map", str(first), 0) if is_map else about, out)

    patch.setattr(emit, "_note", note)


@pytest.mark.parametrize("plant", [sign, spill, relocation])
def test_a_planted_fault_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    *_, totals = campaign.run(
        500, 0, llvm_every=0, enough=lambda totals: bool(totals.faults)
    )

    assert totals.faults
    assert {fault.outcome.fault for fault in totals.faults} <= {
        "own generator and evaluate() differ",
        "refused by the kernel",
    }
