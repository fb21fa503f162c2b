"""Makes equal ends of parts one.

    part a: r1 = 6; call f; next z          part a: r1 = 6; next t
    part b: r1 = 7; call f; next z    =>    part b: r1 = 7; next t
                                            part t: call f; next z

Inlined functions that count or clean up leave such ends behind. A jump takes the place
of each copy, so every shared instruction is gain.
"""

from beewire.bpf.codegen.machine import Ins, Part
from beewire.bpf.ir import Op
from beewire.hints import Mapping

_Key = tuple[object, ...]
_Apart = Mapping[Ins, Op]


def merge_tails(parts: list[Part], apart: _Apart) -> bool:
    """Share what can be shared, and say if anything was; adds parts to `parts`.

    `apart` are instructions that stay apart where they use different pointers.
    """
    groups = _groups(parts, apart)
    for group in groups:
        _split(group, _common(group, apart), parts)
    return bool(groups)


def _groups(parts: list[Part], apart: _Apart) -> list[list[Part]]:
    """Parts that go the same ways and whose last instruction is the same."""
    groups: dict[_Key, list[Part]] = {}
    for part in parts:
        if part.next is None or not part.ins:
            continue
        branch = _key(part.branch, apart) if part.branch is not None else None
        key = (part.then, part.next, branch, _key(part.ins[-1], apart))
        groups.setdefault(key, []).append(part)
    return [group for group in groups.values() if len(group) > 1]


def _key(ins: Ins, apart: _Apart) -> _Key:
    return ins.code, ins.dst, ins.src, ins.off, ins.imm, ins.note, apart.get(ins)


def _common(group: list[Part], apart: _Apart) -> int:
    """How many instructions at the end all of the group share."""
    first = group[0].ins
    length = len(first)
    for part in group[1:]:
        other = part.ins
        limit = min(length, len(other))
        length = 1
        while length < limit and (
            _key(first[-1 - length], apart) == _key(other[-1 - length], apart)
        ):
            length += 1
    return length


def _split(group: list[Part], length: int, parts: list[Part]) -> None:
    first = group[0]
    tail = next((part for part in group if len(part.ins) == length), None)
    if tail is None or tail is parts[0]:
        tail = Part(f"{first.name}.tail", min(part.depth for part in group))
        tail.ins = first.ins[-length:]
        tail.branch, tail.then, tail.next = first.branch, first.then, first.next
        parts.append(tail)
    for part in group:
        if part is not tail:
            del part.ins[-length:]
            part.branch = part.then = None
            part.next = tail
