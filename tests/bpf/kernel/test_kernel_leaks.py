"""Ten thousand times loaded, attached and detached: as before."""

import resource
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.btf import Int
from beewire.bpf.kernel import attach_cgroup, load
from beewire.bpf.object import (
    AttachKind,
    DataSection,
    ObjectSpec,
    ProgramKind,
    Variable,
)
from tests.systems import descriptors, descriptors_before

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.host]

CYCLES = 10_000
MORE_KIB = 4096


@pytest.mark.timeout(300)
def test_nothing_is_lost_in_ten_thousand_cycles(
    counter: Callable[..., "Counter"], cgroup: str
) -> None:
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT)
    variable = Variable("hits", 0, 8, Int("unsigned long", 8))
    spec = ObjectSpec("leaks")
    spec.programs["count"] = count.program.spec
    spec.sections[".bss"] = DataSection(".bss", bytearray(8), [variable])

    def cycle() -> None:
        with load(spec) as loaded:
            attach_cgroup(loaded.programs["count"], cgroup).close()

    # The kernel switches the hook on for the first program only, which takes it 10 ms.
    with attach_cgroup(count.program, cgroup):
        for _ in range(100):
            cycle()
        before, memory = descriptors_before(), peak_kib()
        for _ in range(CYCLES):
            cycle()
        assert descriptors() == before

    assert peak_kib() - memory < MORE_KIB


def peak_kib() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
