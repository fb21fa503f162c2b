"""500 random programs: own generator, LLVM and `evaluate()` agree on each of them."""

import pytest

from tests.bpf.fuzz import campaign, report

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

PROGRAMS = 500
LLVM_EVERY = 10  # it takes most of the time, and `make fuzz` has it in all of them


@pytest.fixture(scope="module")
def totals() -> campaign.Totals:
    pytest.importorskip("llvmlite")
    *_, last = campaign.run(PROGRAMS, 0, jobs=2, llvm_every=LLVM_EVERY)
    return last


def test_all_three_agree_on_every_program(totals: campaign.Totals) -> None:
    assert totals.faults == []
    assert totals.compared >= 0.97 * PROGRAMS


def test_llvm_takes_part(totals: campaign.Totals) -> None:
    assert totals.llvm_share >= report.LEAST_LLVM


def test_the_kernel_finds_few_programs_too_complex(totals: campaign.Totals) -> None:
    assert totals.excuses["complexity"] <= 1


def test_every_construct_is_in_one_of_a_hundred(totals: campaign.Totals) -> None:
    assert [
        name
        for name in totals.constructs
        if totals.share(name) < report.LEAST_CONSTRUCT
    ] == []
