"""What programs cannot do while they hold a lock, and with objects in values."""

from collections.abc import Callable

import pytest

from beewire.errors import Diagnostic
from tests.bpf.lang import conftest
from tests.bpf.lang.test_lang_refusals import check

PRELUDE = """
from beewire.bpf.lang.concurrency import *
from beewire.bpf.lang.objects import *

class Node(Struct):
    key: u64
    link: ListNode
class Account(Struct):
    lock: SpinLock
    waiting: ListHead[Node]
    balance: u64
    small: u16
    flag: bool
    kept: Kptr[Node]

accounts = HashMap[u32, Account](16)

@{hook}
def program(ctx: {context}) -> None:
    if (account := accounts.lookup(1)) is None:
        return
"""

CASES = {
    "a helper": (
        "with lock(account):\n    account.balance = «ktime_ns()»",
        "this calls a helper, which is not allowed while the lock of 'account' is held",
        "do it before the block, or after it",
    ),
    "another entry of a map": (
        "with lock(account):\n    «table[1] = 2»",
        "this calls a helper, which is not allowed while the lock of 'account' is held",
        "do it before the block, or after it",
    ),
    "a second lock": (
        "with lock(account):\n    with «lock(account)»:\n        pass",
        "the lock of 'account' is held already: there is one lock at a time",
        "end its block first",
    ),
    "a new object": (
        "with lock(account):\n    x = «obj_new(Node)»",
        (
            "this calls a function of the kernel, which is not allowed while the lock of "
            "'account' is held"
        ),
        "do it before the block, or after it",
    ),
    "a value without a lock": (
        "if (x := records.lookup(1)) is not None:\n    with lock(«x»):\n        pass",
        "a map's value with a SpinLock is needed here, not a struct (Record)",
        "class Account(Struct): lock: SpinLock; balance: u64",
    ),
    "a lock without a block": (
        "«lock(account)»",
        "lock() stands in a 'with' statement only",
        "with lock(account):",
    ),
    "a name for a lock": (
        "with lock(account) as «x»:\n    pass",
        "there is nothing to name here",
        "leave it out",
    ),
    "RCU twice": (
        "with rcu():\n    with «rcu()»:\n        pass",
        "this is inside of 'with rcu()' already",
        "",
    ),
    "a list without its lock": (
        "x = «account.waiting.pop_front()»",
        "a list is used under the lock of its value only",
        "with lock(value): ...",
    ),
    "an object that is forgotten": (
        "x = «obj_new(Node)»",
        "the Node is not given back where the program ends in line {end}",
        "give it back on every way by obj_drop(), or put it where it belongs",
    ),
    "an object after it was put into a list": (
        (
            "n = obj_new(Node)\nif n is not None:\n    with lock(account):\n"
            "        account.waiting.push_front(n)\n    «n».key = 1"
        ),
        "'n' is gone: account.waiting.push_front() gave it back",
        "take it again, or do this before it is gone",
    ),
    "a pointer without RCU": (
        "x = «account.kept.read()»",
        "a pointer to Node is read in 'with rcu():' only",
        "with rcu(): ... - or take it out: xchg(None)",
    ),
    "a pointer after RCU": (
        (
            "with rcu():\n    x = account.kept.read()\nif «x» is not None:\n"
            "    account.balance = 1"
        ),
        "'x' is gone: the end of its 'with rcu' block gave it back",
        "take it again, or do this before it is gone",
    ),
    "something else into a pointer": (
        "x = account.kept.xchg(«account»)",
        "a Node is needed here, not a struct (Account)",
        "give it an argument of that kind",
    ),
    "an operation that a list lacks": (
        "«account.waiting.pop»()",
        "a list has no pop()",
        "it has pop_back, pop_front, push_back, push_front",
    ),
    "assigning a lock": (
        "account.lock = «1»",
        "bpf_spin_lock cannot be assigned",
        "give an integer for u8 .. u64, a text for chars(n), a struct for one",
    ),
    "16 bits": (
        "x = fetch_add(«account.small», 1)",
        "u16 cannot be changed atomically",
        "make it u32 or u64",
    ),
    "a bool": (
        "x = xchg(«account.flag», 1)",
        "bool cannot be changed atomically",
        "do this to an integer of 32 or 64 bits",
    ),
    "a number": (
        "x = fetch_add(«3», 1)",
        "an integer in memory is needed here, not the number 3",
        "name a field, an element, or the reference that a look-up gave",
    ),
    "a number that does not fit": (
        "x = cmpxchg(account.balance, «-1», 1)",
        "-1 does not fit u64",
        "u64 holds 0 .. 18446744073709551615; write 0xffffffffffffffff for the same bits",
    ),
}


def source(body: str, hook: str = "xdp", context: str = "XdpContext") -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return PRELUDE.format(hook=hook, context=context) + lines


@pytest.mark.parametrize("name", CASES)
def test_is_refused_with_place_and_advice(
    refused: Callable[[str], tuple[Diagnostic, ...]], name: str
) -> None:
    body, message, hint = CASES[name]
    end = len((conftest.PRELUDE + source(body)).splitlines())

    check(refused, source(body), message.format(end=end), hint)


def test_tracing_programs_have_no_locks(
    refused: Callable[[str], tuple[Diagnostic, ...]],
) -> None:
    body = "with «lock(account)»:\n    pass"

    check(
        refused,
        source(body, "tracepoint", "Tracepoint"),
        "tracing programs have no locks",
        "they run inside of whoever holds one: use atomic operations",
    )
