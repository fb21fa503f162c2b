"""Gives each web a machine register, or says which webs must live on the stack.

A machine register's occupation is an int with a bit for each instruction, like a range:
a web fits where `&` finds nothing. The heaviest webs choose first, and first what saves
a copy; webs that live across a call find r0 to r5 taken by the call itself.
"""

from beewire.bpf.codegen.coalesce import Webs
from beewire.bpf.codegen.liveness import Ranges
from beewire.bpf.codegen.machine import CALL, FIRST_VIRTUAL
from beewire.hints import Container

# Registers that a call spares come last: they are for what lives across calls.
_ORDER = (1, 2, 3, 4, 5, 0, 6, 7, 8, 9)
_HEAVY = 1 << 40

_Hints = dict[int, dict[int, int]]
_Friends = dict[int, list[int]]


class Colouring:
    """The colours by web, and the webs that found none."""

    __slots__ = ("colours", "spilled")

    def __init__(self, registers: int) -> None:
        self.colours = [*range(FIRST_VIRTUAL), *([-1] * (registers - FIRST_VIRTUAL))]
        self.spilled: list[int] = []


def colour(
    ranges: Ranges, webs: Webs, fixed: Container[int] = (), cheap: Container[int] = ()
) -> Colouring:
    """Colour all webs; `fixed` may not be spilled, `cheap` are made anew for nothing."""
    hints = _hints(ranges, webs)
    live = ranges.live
    roots = [
        web
        for web in range(FIRST_VIRTUAL, len(live))
        if live[web] and webs.parent[web] == web
    ]
    costs = {web: _cost(web, ranges, fixed, cheap) for web in roots}
    calls = ranges.calls
    roots.sort(key=lambda w: (not live[w] & calls, w not in hints, -costs[w], w))
    friends = _friends(ranges, webs)
    best = _try(roots, ranges, friends, hints, costs)
    if best.spilled:
        # The order of their beginnings colours interval graphs best.
        roots.sort(key=lambda w: (not live[w] & calls, live[w] & -live[w]))
        second = _try(roots, ranges, friends, hints, costs)
        if _price(second, costs) < _price(best, costs):
            best = second
    return best


def _price(colouring: Colouring, costs: dict[int, int]) -> int:
    return sum(costs[web] for web in colouring.spilled)


def _cost(
    web: int, ranges: Ranges, fixed: Container[int], cheap: Container[int]
) -> int:
    """What spilling costs, by the length of the range that it frees."""
    if web in fixed:
        return _HEAVY
    weight = ranges.weight[web] * 1024 // (ranges.live[web].bit_count() + 4)
    return weight // 16 if web in cheap else weight


def _hints(ranges: Ranges, webs: Webs) -> _Hints:
    """The machine registers that each web is copied from, to, or passed in."""
    hints: _Hints = {}
    find = webs.find
    for factor, _, ins in ranges.moves:
        for a, b in ((ins.dst, ins.src), (ins.src, ins.dst)):
            if a < FIRST_VIRTUAL <= b:
                _add(hints, find(b), a, factor)
    for ins in ranges.code:
        if ins.code == CALL:
            for register, source in ins.moves:
                _add(hints, find(source), register, 1)
    return hints


def _add(hints: _Hints, web: int, register: int, factor: int) -> None:
    wishes = hints.setdefault(web, {})
    wishes[register] = wishes.get(register, 0) + factor


def _try(
    order: list[int],
    ranges: Ranges,
    friends: _Friends,
    hints: _Hints,
    costs: dict[int, int],
) -> Colouring:
    result = Colouring(len(ranges.live))
    live = ranges.live
    occupied = live[:10]
    members: list[list[int]] = [[] for _ in range(10)]
    for web in order:
        mine = live[web]
        chosen = -1
        for register in _preference(web, hints, friends, result.colours):
            if not occupied[register] & mine:
                chosen = register
                break
        if chosen < 0:
            chosen = _evict(web, ranges, members, occupied, costs, result)
            if chosen < 0:
                result.spilled.append(web)
                continue
        result.colours[web] = chosen
        occupied[chosen] |= mine
        members[chosen].append(web)
    return result


def _preference(
    web: int, hints: _Hints, friends: _Friends, colours: list[int]
) -> tuple[int, ...]:
    if web not in hints and web not in friends:
        return _ORDER
    wishes = dict(hints.get(web, {}))
    for friend in friends.get(web, ()):
        if colours[friend] >= 0:
            wishes[colours[friend]] = wishes.get(colours[friend], 0) + 1
    if not wishes:
        return _ORDER
    first = sorted((r for r in wishes if r < 10), key=lambda r: -wishes[r])
    return (*first, *_ORDER)


def _friends(ranges: Ranges, webs: Webs) -> _Friends:
    """Webs that a copy joins but that could not become one."""
    friends: _Friends = {}
    for _, _, ins in ranges.moves:
        a, b = webs.find(ins.dst), webs.find(ins.src)
        if a != b and a >= FIRST_VIRTUAL and b >= FIRST_VIRTUAL:
            friends.setdefault(a, []).append(b)
            friends.setdefault(b, []).append(a)
    return friends


def _evict(
    web: int,
    ranges: Ranges,
    members: list[list[int]],
    occupied: list[int],
    costs: dict[int, int],
    result: Colouring,
) -> int:
    """Free the register whose webs in the way cost least, if less than `web` does."""
    live = ranges.live
    mine = live[web]
    best, best_cost = -1, costs[web]
    for register in range(10):
        if live[register] & mine:
            continue
        cost = sum(costs[other] for other in members[register] if live[other] & mine)
        if cost < best_cost:
            best, best_cost = register, cost
    if best < 0:
        return -1
    kept = []
    for other in members[best]:
        if live[other] & mine:
            result.colours[other] = -1
            result.spilled.append(other)
        else:
            kept.append(other)
    members[best] = kept
    occupied[best] = live[best]
    for other in kept:
        occupied[best] |= live[other]
    return best
