"""References: given back on every way, or refused where they were acquired."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from beewire.bpf import collect, load
from beewire.errors import CompileError, Diagnostic
from tests.bpf.lang import random_references
from tests.bpf.lang.conftest import PRELUDE
from tests.bpf.lang.test_lang_kernel import cell
from tests.bpf.lang.test_lang_refusals import check, xdp

LOOKUP = "sk_lookup_tcp(ctx, Key())"
ADVICE = "give it back on every way by sk_release(sk), or write: with ... as sk:"


def ends_after(lines: int) -> str:
    """The message about a program that ends after so many lines of its body."""
    line = len(PRELUDE.splitlines()) + 2 + lines + 1
    return f"the socket is not given back where the program ends in line {line}"


@pytest.mark.kernel
@given(seed=st.integers(0, 1 << 32))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_the_kernel_takes_what_the_compiler_takes(seed: int) -> None:
    names = cell(random_references.source(seed))
    try:
        spec = collect([names["program"]])
    except CompileError:
        reject()

    load(spec).close()


REFUSED = {
    "a leak": (
        f"sk = «{LOOKUP}»\nif sk is None:\n    return XdpAction.DROP",
        ends_after(3),
        ADVICE,
    ),
    "a leak on one way": (
        (
            f"sk = «{LOOKUP}»\nif sk is not None:\n    if cpu_id():\n"
            "        sk_release(sk)"
        ),
        ends_after(4),
        ADVICE,
    ),
    "a socket without a name": (
        f"if «{LOOKUP}» is None:\n    return XdpAction.DROP",
        ends_after(1),
        ADVICE,
    ),
    "a leak by a loop": (
        f"for i in range(3):\n    sk = «{LOOKUP}»\n    x = i",
        "the socket is not given back at the end of the loop's round",
        ADVICE,
    ),
    "a release in a loop": (
        (
            f"sk = «{LOOKUP}»\nif sk is None:\n    return XdpAction.DROP\n"
            "for i in range(3):\n    sk_release(sk)"
        ),
        "the socket was given back, and is needed in the loop's next round",
        "leave the loop when it is given back, or acquire it in the loop",
    ),
    "a second release": (
        (
            f"sk = {LOOKUP}\nif sk is None:\n    return XdpAction.DROP\n"
            "sk_release(sk)\nsk_release(«sk»)"
        ),
        "'sk' is gone: sk_release() gave it back",
        "take it again, or do this before it is gone",
    ),
    "use after a release on one way": (
        (
            f"sk = {LOOKUP}\nif sk is None:\n    return XdpAction.DROP\n"
            "if cpu_id():\n    sk_release(sk)\nx = «sk».mark"
        ),
        "'sk' is gone: sk_release() gave it back",
        "take it again, or do this before it is gone",
    ),
    "a second name": (
        f"sk = {LOOKUP}\nother = «sk»",
        "'other' would be a second name for the socket",
        "use the first name: it is given back once",
    ),
    "overwriting": (
        f"sk = {LOOKUP}\nsk = «{LOOKUP}»",
        "'sk' has the socket, which is not given back yet",
        ADVICE,
    ),
    "a record after it was submitted": (
        (
            "with events.reserve() as e:\n    if e is not None:\n"
            "        events.submit(e)\n        «e».pid = 1"
        ),
        "'e' is gone: events.submit() gave it back",
        "take it again, or do this before it is gone",
    ),
    "a record submitted on one way of its block": (
        (
            "with «events.reserve()» as e:\n    if e is not None:\n"
            "        if cpu_id():\n            events.discard(e)"
        ),
        "the record of events is not given back on one of the ways through its 'with' block",
        "with events.reserve() as e:",
    ),
    "something else submitted": (
        "with socks.lookup(Key()) as e:\n    if e is not None:\n        events.submit(«e»)",
        "a record of events is needed here, not a socket",
        "give it an argument of that kind",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_place_and_advice(
    refused: Callable[[str], tuple[Diagnostic, ...]], name: str
) -> None:
    body, message, hint = REFUSED[name]

    check(refused, xdp(body), message, hint)


def test_what_leans_on_a_socket_that_is_gone_is_refused(
    refused: Callable[[str], tuple[Diagnostic, ...]],
) -> None:
    source = (
        "@hook(ProgramKind.CGROUP_SKB, SkBuff, 1)\n"
        "def program(ctx: SkBuff) -> None:\n"
        f"    sk = {LOOKUP}\n    if sk is None:\n        return\n"
        "    full = sk_fullsock(sk)\n    sk_release(sk)\n"
        "    if «full» is None:\n        return\n"
    )

    check(
        refused,
        source,
        "'full' is gone: sk_release() gave it back",
        "take it again, or do this before it is gone",
    )


def test_a_borrowed_socket_is_not_given_back(
    refused: Callable[[str], tuple[Diagnostic, ...]],
) -> None:
    source = (
        "@sock_ops\ndef program(ctx: SockOps) -> None:\n"
        "    if (sk := ctx.sk) is not None:\n        sk_release(«sk»)\n"
    )

    check(
        refused,
        source,
        "'sk' is not the program's to give back",
        "sk_release() takes what a lookup returned",
    )


LOOPING_SUBPROGRAM = """
from beewire.bpf import *

class Event(Struct):
    first: u64

events = RingBuf[Event](4096)

@subprogram
def halvings(n: u32) -> u32:
    count: u32 = 0
    while n > 1:
        n >>= 1
        count += 1
    return count

@xdp
def program(ctx: XdpContext) -> XdpAction:
    with events.reserve() as event:
        if event is not None:
            event.first = halvings(ctx.length)
    return XdpAction.PASS
"""


@pytest.mark.kernel
def test_a_subprogram_does_not_leave_the_blocks_of_its_caller() -> None:
    names = cell(LOOPING_SUBPROGRAM)

    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))

        assert [event.first for event in loaded[names["events"]].poll()] == [6]
