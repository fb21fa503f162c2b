"""What programs cannot say: the message, the place under the caret, the advice.

In each source, `«...»` marks what the caret must point at.
"""

from collections.abc import Callable

import pytest

from beewire.errors import Diagnostic
from tests.bpf.lang.refused_calls import CALLS, MAPS
from tests.bpf.lang.refused_data import DATA, DECLARATIONS
from tests.bpf.lang.refused_statements import INTEGERS, REFERENCES, STATEMENTS

Refused = Callable[[str], tuple[Diagnostic, ...]]

XDP = "@xdp\ndef program(ctx: XdpContext) -> XdpAction:\n"
PASS = "    return XdpAction.PASS\n"


def check(
    refused: Refused, source: str, message: str, hint: str, *, others: int = 0
) -> None:
    """The first fault of `source` has this message, place and hint."""
    plain = source.replace("«", "").replace("»", "")
    line = next(line for line in source.splitlines() if "«" in line)
    before, _, rest = line.partition("«")
    marked, _, _ = rest.partition("»")

    fault, *more = refused(plain)

    assert fault.message == message
    assert fault.text.rstrip("\n") == before + marked + rest.partition("»")[2]
    assert fault.text[fault.column - 1 : (fault.end_column or 0) - 1] == marked
    assert fault.hint == hint
    assert len(more) == others


def xdp(body: str) -> str:
    """An XDP program of these statements, and a return."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return XDP + lines + PASS


@pytest.mark.parametrize("name", [*STATEMENTS, *INTEGERS, *REFERENCES, *MAPS, *CALLS])
def test_is_refused_with_place_and_advice(refused: Refused, name: str) -> None:
    cases = STATEMENTS | INTEGERS | REFERENCES | MAPS | CALLS
    body, message, hint = cases[name]

    check(refused, xdp(body), message, hint)


@pytest.mark.parametrize("name", DATA)
def test_data_is_refused_with_place_and_advice(refused: Refused, name: str) -> None:
    body, message, hint = DATA[name]

    check(refused, DECLARATIONS + xdp("ports = Ports()\n" + body), message, hint)


WHOLE: dict[str, tuple[str, str, str] | tuple[str, str, str, int]] = {
    "read-only field of the context": (
        "@connect4\ndef program(ctx: SockAddr) -> None:\n    «ctx.family» = 2\n",
        "'ctx.family' is read-only",
        "the kernel lets programs read it only",
    ),
    "read-only socket": (
        "@connect4\ndef program(ctx: SockAddr) -> None:\n    «ctx.sk.mark» = 2\n",
        "'ctx.sk.mark' is read-only",
        "the kernel lets programs read it only",
    ),
    "unknown field of the context": (
        "@connect4\ndef program(ctx: SockAddr) -> None:\n    x = «ctx.user_prt»\n",
        "SockAddr has no field 'user_prt'",
        "did you mean 'user_port'?",
    ),
    "variable index into the context": (
        (
            "@connect4\ndef program(ctx: SockAddr) -> None:\n"
            "    x = «ctx.user_ip6[cpu_id()]»\n"
        ),
        "the array 'user_ip6' takes constant indices only",
        "the kernel rewrites each access: write one for each index",
    ),
    "socket of sock_ops without a check": (
        "@sock_ops\ndef program(ctx: SockOps) -> None:\n    x = «ctx.sk».src_port\n",
        "'ctx.sk' may be None",
        "give it a name and test that: if (x := ctx.sk) is None: return",
    ),
    "packet of a context without one": (
        "@connect4\ndef program(ctx: SockAddr) -> None:\n    x = «ctx.at(0, Key)»\n",
        "the context (SockAddr) has no packet",
        "use an operation that this kind of value has",
    ),
    "context of another hook": (
        "@connect4\ndef program(«ctx: XdpContext») -> None:\n    pass\n",
        "cgroup/connect4 passes SockAddr, not XdpContext",
        "def program(ctx: SockAddr)",
    ),
    "two parameters": (
        "@xdp\n«def program(ctx: XdpContext, n: u32) -> None:»\n    pass\n",
        "a program takes one parameter, program() takes another number",
        "def program(ctx: XdpContext)",
    ),
    "value from a program that returns none": (
        "@xdp\ndef program(ctx: XdpContext) -> None:\n    return «1»\n",
        "program() is annotated -> None",
        "annotate what it returns: -> int, instead of program() -> None",
    ),
    "missing return": (
        (
            "@xdp\ndef program(ctx: XdpContext) -> XdpAction:\n    «if cpu_id():»\n"
            "        return XdpAction.DROP\n"
        ),
        "program() does not return a value on every way",
        "end it with a return",
    ),
    "bare return": (
        "@xdp\ndef program(ctx: XdpContext) -> XdpAction:\n    «return»\n",
        "the program must return a value here",
        "return one, or annotate the program -> None",
    ),
    "undeclared field of a tracepoint": (
        (
            "@tracepoint\ndef program(ctx: sched_process_fork) -> None:\n"
            "    x = «ctx.parent_pit»\n"
        ),
        "sched_process_fork has no field 'parent_pit'",
        "did you mean 'parent_pid'?",
    ),
    "record of a tracepoint without a class": (
        "@tracepoint\ndef program(ctx: Tracepoint) -> None:\n    x = «ctx.pid»\n",
        "Tracepoint has no field 'pid'",
        (
            "name the fields that are read in a subclass: "
            "class sched_process_fork(Tracepoint): pid: u32"
        ),
    ),
    "recursion": (
        (
            "def again(n: u32) -> u32:\n    return «again(n)»\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = again(1)\n"
        ),
        "again() calls itself",
        "write a bounded loop",
    ),
    "parameter without a type": (
        (
            "def twice(n) -> u32:\n    return n * 2\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = twice(«1»)\n"
        ),
        "twice(): parameter 'n' has no annotation",
        "n: u32, say",
    ),
    "function without a return type": (
        (
            "def twice(n: u32):\n    return n * 2\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = «twice(1)»\n"
        ),
        "twice() does not say what it returns",
        "annotate it: -> u32, -> bool, -> None",
    ),
    "argument that does not fit": (
        (
            "def twice(n: u8) -> u32:\n    return n * 2\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = twice(«300»)\n"
        ),
        "twice(): 300 does not fit u8",
        "u8 holds 0 .. 255",
    ),
    "reference to one of two that are not aligned alike": (
        (
            "from beewire.bpf import subprogram\n"
            "class Inner(Struct):\n    number: u32\n"
            "class Tight(Struct, packed=True):\n    kind: u8\n    inner: Inner\n"
            "@subprogram\ndef number(it: Tight, other: Inner) -> u32:\n"
            "    one = other if it.kind else «it.inner»\n    return one.number\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n"
            "    it, other = Tight(), Inner()\n    x = number(it, other)\n"
        ),
        "a struct (Inner) is not aligned on the stack: nothing can refer to it",
        "reach it through the struct, or take a copy: .copy()",
    ),
    "argument that may be None": (
        (
            "def count(r: Record) -> u32:\n    return r.pid\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n"
            "    r = records.lookup(1)\n    x = count(«r»)\n"
        ),
        "count(): parameter 'r' is Record, and this may be None",
        "test it first",
    ),
    "call of a program": (
        (
            "@xdp\ndef other(ctx: XdpContext) -> None:\n    pass\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    «other(ctx)»\n"
        ),
        "'other' is a program: only the kernel calls it",
        "move what both need into a plain function",
    ),
    "struct of the caller, returned by an inlined function": (
        (
            "def either(a: Key, b: Key, c: u32) -> Key:\n"
            "    if c:\n        return «a»\n    return b\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n"
            "    a = Key()\n    b = Key()\n    k = either(a, b, cpu_id())\n"
        ),
        "either() returns a struct that it did not make",
        "return a copy: .copy()",
        1,
    ),
    "second name by way of an inlined function": (
        (
            "def same(a: Key) -> Key:\n    return a\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n"
            "    a = Key()\n    k = «same(a)»\n"
        ),
        "'k' would be a second name for a struct on the stack",
        "use the first name, or take a copy: .copy()",
    ),
    "call of a lambda": (
        (
            "twice = lambda n: n * 2\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = «twice(1)»\n"
        ),
        "lambda is not part of programs",
        "write a function: def",
    ),
    "call of a coroutine": (
        (
            "async def twice(n: u32) -> u32:\n    return n * 2\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = «twice(1)»\n"
        ),
        "twice() is async",
        "write a plain def",
    ),
    "parameter of a Python type": (
        (
            "def size(n: dict) -> u32:\n    return 1\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = size(«1»)\n"
        ),
        "size(): dict is no type of programs",
        "u32 and the like, bool, a Struct",
    ),
    "annotation that is no Python": (
        (
            "def size(n: 'u8 |') -> u32:\n    return 1\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = size(«1»)\n"
        ),
        (
            "size(): the annotation 'u8 |' cannot be evaluated: invalid syntax "
            "(<string>, line 1)"
        ),
        "write a type: u8 .. u64, i8 .. i64, bool, a Struct",
    ),
    "a fault inside an inlined function": (
        (
            "def half(n: u32) -> u32:\n    return «n / 2»\n"
            "@xdp\ndef program(ctx: XdpContext) -> None:\n    x = half(1)\n"
        ),
        "'/' makes a float",
        "divide integers by //",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_program_is_refused(refused: Refused, name: str) -> None:
    source, message, hint, *others = WHOLE[name]

    check(refused, source, message, hint, others=sum(others))


def test_all_faults_of_a_program_are_reported_in_order(refused: Refused) -> None:
    source = xdp("x = 0.5\ny = x + 1\ntry:\n    pass\nfinally:\n    pass\nz = nothing")

    faults = refused(source)

    assert [fault.message for fault in faults] == [
        "0.5 is a float",
        "try is not part of programs",
        "'nothing' is not defined",
    ]


def test_the_block_below_a_refused_condition_is_checked_too(refused: Refused) -> None:
    faults = refused(xdp("if 0.5:\n    raise ValueError"))

    assert [fault.message for fault in faults] == [
        "0.5 is a float",
        "raise is not part of programs",
    ]


def test_columns_count_characters_not_bytes(refused: Refused) -> None:
    source = "größer = 1; x = «0.5»"

    check(
        refused,
        xdp(source),
        "0.5 is a float",
        "programs have integers only: scale it",
    )
