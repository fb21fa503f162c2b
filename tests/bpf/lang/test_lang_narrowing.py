"""A test for None is understood in every form in which Python programmers write it."""

from collections.abc import Callable

import pytest

ACCEPTED = {
    "is None, return": "e = table.lookup(1)\nif e is None:\n    return\ne.value = 1",
    "is not None": "e = table.lookup(1)\nif e is not None:\n    e.value = 1",
    "else": "e = table.lookup(1)\nif e is None:\n    pass\nelse:\n    e.value = 1",
    "not": "e = table.lookup(1)\nif not e:\n    return\ne.value = 1",
    "not is None": "e = table.lookup(1)\nif not e is None:\n    e.value = 1",
    "truth": "e = table.lookup(1)\nif e:\n    e.value = 1",
    "walrus": "if (e := table.lookup(1)) is None:\n    return\ne.value = 1",
    "walrus, truth": "if e := table.lookup(1):\n    e.value = 1",
    "and": "e = table.lookup(1)\nif e is not None and e.value > 1:\n    e.value = 1",
    "or": "e = table.lookup(1)\nif e is None or e.value > 1:\n    return\ne.value = 1",
    "two at once": (
        "e = table.lookup(1)\nf = table.lookup(2)\nif e is None or f is None:\n"
        "    return\ne.value = f.value"
    ),
    "walrus in or": (
        "if (e := table.lookup(1)) is None or (f := table.lookup(2)) is None:\n"
        "    return\ne.value = f.value"
    ),
    "and inside not": (
        "e = table.lookup(1)\nif not (e is not None and e.value):\n    return\n"
        "e.value = 1"
    ),
    "ternary": "e = table.lookup(1)\nx = e.value if e is not None else 0",
    "elif": (
        "e = table.lookup(1)\nif cpu_id():\n    return\nelif e is None:\n    return\n"
        "e.value = 1"
    ),
    "both ways assign": (
        "e = table.lookup(1)\nif e is None:\n    e = table.lookup(2)\n"
        "    if e is None:\n        return\ne.value = 1"
    ),
    "continue in a loop": (
        "for i in range(4):\n    e = table.lookup(i)\n    if e is None:\n"
        "        continue\n    e.value = 1"
    ),
    "break in a loop": (
        "for i in range(4):\n    e = table.lookup(i)\n    if e is None:\n"
        "        break\n    e.value = 1"
    ),
    "checked before a loop": (
        "e = table.lookup(1)\nif e is None:\n    return\nfor i in range(4):\n"
        "    e.value += i"
    ),
    "while": "e = table.lookup(1)\nwhile e is not None:\n    e.value = 1\n    break",
    "a while that is left when found": (
        "e = table.lookup(1)\ni = 0\nwhile e is None:\n    i += 1\n    if i > 3:\n"
        "        return\n    e = table.lookup(i)\ne.value = 1"
    ),
    "match": (
        "e = table.lookup(1)\nif e is None:\n    return\nmatch e.value:\n"
        "    case 1:\n        e.value = 2\n    case _:\n        pass"
    ),
    "with": "with events.reserve() as e:\n    if e is not None:\n        e.pid = 1",
    "with, early": (
        "with events.reserve() as e:\n    if e is None:\n        return\n    e.pid = 1"
    ),
    "packet": "h = ctx.at(0, Inner)\nif h is None:\n    return\nx = h.low",
    "dead code": "e = table.lookup(1)\nreturn\ne.value = 1",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_is_understood(compiled: Callable[[str], str], name: str) -> None:
    lines = "".join(f"    {line}\n" for line in ACCEPTED[name].splitlines())

    assert compiled(f"@xdp\ndef program(ctx: XdpContext) -> None:\n{lines}")


def test_a_reference_known_to_be_there_is_not_tested_again(
    compiled: Callable[[str], str],
) -> None:
    text = compiled(
        "@xdp\ndef program(ctx: XdpContext) -> None:\n"
        "    e = table.lookup(1)\n"
        "    if e is None:\n        return\n"
        "    if e is not None:\n        e.value = 1\n"
    )

    assert text.count("branch") == 1


def test_a_function_may_return_a_reference_or_none(
    compiled: Callable[[str], str],
) -> None:
    assert compiled(
        "def find(n: u32) -> Record | None:\n"
        "    if n > 3:\n        return None\n"
        "    return records.lookup(n)\n"
        "@xdp\ndef program(ctx: XdpContext) -> None:\n"
        "    r = find(2)\n"
        "    if r is not None:\n        r.pid = 1\n"
    )


def test_a_function_may_take_a_reference_or_none(
    compiled: Callable[[str], str],
) -> None:
    assert compiled(
        "def mark(r: Record | None) -> None:\n"
        "    if r is None:\n        return\n"
        "    r.pid = 1\n"
        "@xdp\ndef program(ctx: XdpContext) -> None:\n"
        "    mark(records.lookup(1))\n"
    )
