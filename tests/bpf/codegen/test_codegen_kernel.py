"""The kernel accepts generated code, and runs it as the IR means it."""

import random

import pytest

from beewire.bpf import codegen, kernel
from beewire.bpf.object import (
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Target,
)
from tests.bpf.codegen import reference
from tests.bpf.codegen.memory import CTX, PLACES, Memory
from tests.bpf.codegen.programs import CTX_BYTES, Maker

SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE, which syscall programs must be


def load(code: codegen.Code) -> kernel.Loaded:
    spec = ObjectSpec("bw-codegen")
    spec.maps["m"] = MapSpec(
        "m", kind=MapKind.ARRAY, key_size=4, value_size=8, max_entries=PLACES
    )
    spec.programs["random"] = ProgramSpec(
        "random",
        kind=ProgramKind.SYSCALL,
        section="syscall",
        insns=code.insns,
        relocations=code.relocations,
        flags=SLEEPABLE,
    )
    return kernel.load(spec)


@pytest.mark.kernel
@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(15))
def test_the_kernel_runs_random_programs_as_the_ir_means_them(
    seed: int, level: int
) -> None:
    atomics = level >= 3
    meant = Maker(random.Random(seed), memory=atomics).make(12)
    made = Maker(random.Random(seed), memory=atomics).make(12)
    code = codegen.generate(made, Target(level))
    ctx = random.Random(seed).randbytes(CTX_BYTES)
    memory = Memory(ctx)
    wanted = reference.run(meant, memory, (CTX,))

    with load(code) as loaded:
        retval = loaded.programs["random"].test_run(ctx_in=ctx).retval
        values = [loaded.maps["m"][i] for i in range(PLACES)]

    assert retval == wanted & 0xFFFF_FFFF
    assert [int.from_bytes(v, "little") for v in values] == list(memory.values())
