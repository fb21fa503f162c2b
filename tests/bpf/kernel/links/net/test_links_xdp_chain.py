"""Several XDP programs on one interface: who runs, who decides, and what is replaced."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from beewire.bpf import kernel
from beewire.bpf.kernel import XdpChain
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import AttachError, SpecError, VerifierError

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

RunInside = Callable[[Callable[[], object]], None]
Answers = Callable[[int], int]
Xdp = Callable[[int], "Counter"]
ABORTED, DROP, PASS, TX = 0, 1, 2, 3


@pytest.fixture
def xdp(counter: Callable[..., "Counter"]) -> Xdp:
    """A counting program that returns a verdict."""
    return lambda verdict: counter(ProgramKind.XDP, AttachKind.XDP, verdict)


@pytest.fixture
def chain(far: str, inside: RunInside) -> Iterator[Callable[..., XdpChain]]:
    """A chain on bw-near: (counter, options), ... added in the namespace."""
    del far
    made = XdpChain("bw-near")

    def add(*members: tuple["Counter", dict[str, object]]) -> XdpChain:
        def run() -> None:
            for counting, options in members:
                made.add_loaded(counting.loaded, "count", **options)  # type: ignore[arg-type] # as given

        inside(run)
        return made

    yield add
    made.close()


def test_all_run_by_priority_until_one_decides(
    xdp: Xdp, chain: Callable[..., XdpChain], answers: Answers
) -> None:
    late, early, drop = xdp(PASS), xdp(PASS), xdp(DROP)

    chain((late, {"priority": 30}), (early, {"priority": 10}), (drop, {"priority": 20}))
    before = late.hits  # while it was alone
    during = answers(2)

    assert during == 0
    assert (early.hits >= 2, drop.hits >= 2, late.hits) == (True, True, before)


@pytest.mark.thorough
def test_programs_of_one_priority_run_in_the_order_of_coming(
    xdp: Xdp, chain: Callable[..., XdpChain], answers: Answers
) -> None:
    one, drop, two = xdp(PASS), xdp(DROP), xdp(PASS)

    chain((one, {}), (drop, {}), (two, {}))
    answers(1)

    assert (one.hits >= 1, drop.hits >= 1, two.hits) == (True, True, 0)


@pytest.mark.thorough
def test_the_results_after_which_the_next_one_runs_are_chosen(
    xdp: Xdp, chain: Callable[..., XdpChain], answers: Answers
) -> None:
    drop, let = xdp(DROP), xdp(PASS)

    chain((drop, {"go_on": (DROP, PASS)}), (let, {"priority": 60}))
    during = answers(2)

    assert during == 2
    assert drop.hits >= let.hits >= 2


@pytest.mark.thorough
def test_a_member_that_is_closed_no_longer_runs(
    xdp: Xdp, chain: Callable[..., XdpChain], answers: Answers
) -> None:
    let, drop = xdp(PASS), xdp(DROP)
    found = chain((let, {}))
    with found.add_loaded(drop.loaded, "count", priority=5):
        during = answers(1)
        order = found.order
    after = answers(2)

    assert (during, after) == (0, 2)
    assert order == ("count", "count")
    assert found.order == ("count",)


@pytest.mark.thorough
def test_the_end_of_the_last_member_is_the_chain_s(
    xdp: Xdp, chain: Callable[..., XdpChain], inside: RunInside
) -> None:
    found = chain((xdp(PASS), {}))
    with found.add_loaded(xdp(PASS).loaded, "count"):
        pass

    found.close()
    inside(lambda: kernel.attach_xdp(xdp(PASS).program, "bw-near").close())

    assert found.link is None
    assert found.order == ()


@pytest.mark.thorough
def test_a_result_out_of_range_is_the_chain_s(
    xdp: Xdp, chain: Callable[..., XdpChain], answers: Answers
) -> None:
    odd, let = xdp(77), xdp(PASS)

    chain((odd, {}), (let, {}))

    assert answers(1) == 0  # the kernel aborts what it does not know
    assert (odd.hits >= 1, let.hits) == (True, 0)


def test_a_chain_that_the_verifier_refuses_leaves_the_old_one(
    xdp: Xdp,
    chain: Callable[..., XdpChain],
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drop, let = xdp(DROP), xdp(PASS)
    found = chain((drop, {}))

    def refuse(*_: object, **__: object) -> None:
        raise VerifierError(13, "refused", log="")

    monkeypatch.setattr("beewire.bpf.kernel.links.xdp_chain.load", refuse)
    with pytest.raises(VerifierError) as caught:
        found.add_loaded(let.loaded, "count")

    assert caught.value.__notes__ == [
        "while making one program of the chain count, count"
    ]
    assert found.order == ("count",)
    assert answers(1) == 0


@pytest.mark.thorough
def test_what_is_no_xdp_program_is_told(counter: Callable[..., "Counter"]) -> None:
    count = counter(ProgramKind.SCHED_CLS)

    with pytest.raises(AttachError, match="a chain is of XDP programs: 'count' is"):
        XdpChain("lo").add_loaded(count.loaded, "count")


@pytest.mark.thorough
def test_a_result_that_cannot_be_is_told(xdp: Xdp) -> None:
    with pytest.raises(SpecError, match="goes on after results 0 to 31, not 32"):
        XdpChain("lo").add_loaded(xdp(PASS).loaded, "count", go_on=(32,))
