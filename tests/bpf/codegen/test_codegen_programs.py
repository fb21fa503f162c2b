"""Generated code does what the IR means: random programs, random inputs, no kernel."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beewire.bpf import codegen, ir, isa
from beewire.bpf.object import Target
from tests.bpf.codegen import reference
from tests.bpf.codegen.memory import CTX, Memory
from tests.bpf.codegen.processor import Processor
from tests.bpf.codegen.programs import CTX_BYTES, Maker, crowded


def agree(seed: int, statements: int, level: int) -> None:
    """The IR's meaning and the code's agree on three contexts."""

    def make() -> ir.Function:
        return Maker(random.Random(seed), memory=level >= 3).make(statements)

    check(make, seed, level)


def check(make: Callable[[], ir.Function], seed: int, level: int) -> None:
    """What `make` makes, twice the same, agrees with its code."""
    meant, code = make(), codegen.generate(make(), Target(level))
    source = random.Random(seed)
    assert len(isa.encode(code.insns)) == 8 * sum(insn.slots for insn in code.insns)
    for ctx in (bytes(CTX_BYTES), source.randbytes(CTX_BYTES), b"\xff" * CTX_BYTES):
        wanted, got = Memory(ctx), Memory(ctx)

        result = Processor(code, got, (CTX,)).run()

        assert result == reference.run(meant, wanted, (CTX,))
        assert got.values() == wanted.values()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from((1, 2, 3, 4)))
def test_code_does_what_the_ir_means(seed: int, level: int) -> None:
    agree(seed, 6, level)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from((3, 4)))
def test_long_programs_that_spill_do_what_the_ir_means(seed: int, level: int) -> None:
    agree(seed, 40, level)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(9, 20))
def test_more_values_than_registers_find_room(seed: int, values: int) -> None:
    check(lambda: crowded(random.Random(seed), values, 6 * values), seed, 3)


@pytest.mark.parametrize("seed", range(12))
def test_known_programs_keep_their_meaning(seed: int) -> None:
    agree(seed, 12, 3)
