"""Why no packet meets a rule: which rules before it take every packet that it speaks of.

    proofs = Unreached(oracle, packets).proofs([3, 12])
    proofs[12]      # "rules 9 and 10 take all of it"

`packets` stand for all that there are, one for each cell. Before the rules of each hook a
rule that only counts is asked for the very conditions of the one in question: whatever it
counts would be that rule's. Where such a packet went instead is what the rules themselves
say, so that nothing is argued here, only looked up. Numbers count from 1, as the table of
the campaign prints them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from beewire.mesh.parity.oracle import Oracle, Packet, Rule, Table
from beewire.mesh.parity.oracle_rules import COUNT, RETURN

_HOOKS = ("OUTPUT", "PREROUTING")

# Where rules of one name stand: the family, the table, the chain.
_Chain = tuple[int, str, str]


class Asking(NamedTuple):
    """A rule that was put before a hook's: it asks about rule `number`, or for `hook`."""

    number: int | None
    hook: str


class Unreached:
    """Proofs about the rules of one oracle, by all of its `packets`."""

    def __init__(self, oracle: Oracle, packets: Iterable[Packet]) -> None:
        self._rules: Sequence[Rule] = oracle.rules
        self._places: Sequence[_Chain] = oracle.places
        self._packets = packets
        self._callers: dict[_Chain, list[int]] = {}
        for number, (rule, place) in enumerate(
            zip(oracle.rules, oracle.places, strict=True)
        ):
            if rule.target.chain:
                called = (*place[:2], rule.target.chain)
                self._callers.setdefault(called, []).append(number)

    def proofs(self, numbers: Sequence[int]) -> dict[int, str]:
        """Say of each rule that no packet meets why that is so; "" if it cannot be said."""
        unmet = frozenset(numbers)
        told = {number: self._not_led(number, unmet) for number in numbers}
        left = [number for number in numbers if not told[number]]
        takers = self._takers(left)
        return told | {number: _told(takers[number]) for number in left}

    def _not_led(self, number: int, unmet: frozenset[int]) -> str:
        # Whether anything leads to the chain of a rule at all.
        place = self._places[number]
        chain = place[2]
        if chain in _HOOKS:
            return ""
        callers = self._callers.get(place, [])
        if not callers:
            return f"no rule jumps to {chain}"
        if not unmet.issuperset(callers):
            return ""
        lead = "leads" if len(callers) == 1 else "lead"
        return f"only {_listed(callers)}, unreachable, {lead} to {chain}"

    def _takers(self, numbers: Sequence[int]) -> dict[int, set[int | None]]:
        # Which rules took the packets of each rule; None: it is not led to its chain.
        takers: dict[int, set[int | None]] = {number: set() for number in numbers}
        if not numbers:
            return takers
        asking, meaning = self._asking(numbers)
        for packet in self._packets:
            for asked, walked in _visits(asking.decide(packet).trail, meaning):
                for number in asked:
                    takers[number] |= set(self._takers_of(number, walked))
        return takers

    def _asking(self, numbers: Sequence[int]) -> tuple[Oracle, list[int | Asking]]:
        # The rules with those that ask before each hook's, and what each of them is.
        chains: dict[_Chain, list[int | Asking]] = {}
        for number, place in enumerate(self._places):
            chains.setdefault(place, []).append(number)
        for chain, own in chains.items():
            if chain[2] in _HOOKS:
                asked = [n for n in numbers if chain in self._leading_to(n)]
                marks = [Asking(None, chain[2]), *(Asking(n, chain[2]) for n in asked)]
                own[:0] = marks
        meaning = [each for own in chains.values() for each in own]
        tables: dict[tuple[int, str], dict[str, list[Rule]]] = {}
        for (family, table, name), own in chains.items():
            rules = [self._rule(each, (family, table, name)) for each in own]
            tables.setdefault((family, table), {})[name] = rules
        ordered = [Table(*key, chains=named) for key, named in tables.items()]
        return Oracle(ordered), meaning

    def _rule(self, each: int | Asking, chain: _Chain) -> Rule:
        if isinstance(each, int):
            return self._rules[each]
        matches = () if each.number is None else self._rules[each.number].matches
        return Rule(*chain, text="", matches=matches, target=COUNT)

    def _leading_to(self, number: int) -> set[_Chain]:
        # The chain of a rule, and all from which jumps lead to it.
        found = {self._places[number]}
        ahead = list(found)
        while ahead:
            for caller in self._callers.get(ahead.pop(), []):
                place = self._places[caller]
                if place not in found:
                    found.add(place)
                    ahead.append(place)
        return found

    def _takers_of(self, number: int, walked: Sequence[int]) -> Iterator[int | None]:
        # Who took a packet that a rule would match, of the rules that it met in the hook.
        place = self._places[number]
        chain = place[2]
        calls = [
            at
            for at, met in enumerate(walked)
            if self._rules[met].target.chain == chain
        ]
        if chain in _HOOKS:
            calls = [-1]
        for at in calls:
            yield from self._ending(chain, walked[at + 1 :])
        if not calls:
            for caller in self._callers[place]:
                yield self._before(caller, walked)

    def _before(self, caller: int, walked: Sequence[int]) -> int | None:
        # A jump that was not met: something took the packet first, or it is not for it.
        ending = [
            each
            for each in walked
            if each < caller and self._rules[each].target.settles
        ]
        in_hook = self._places[caller][2] in _HOOKS
        return ending[-1] if in_hook and ending else None

    def _ending(self, chain: str, walked: Sequence[int]) -> Iterator[int]:
        # The rule of a chain with which a packet leaves it: it settles something, or
        # jumps to where the table ends.
        last = None
        for each in walked:
            target = self._rules[each].target
            last = each if self._places[each][2] == chain else last
            if target.settles and (last == each or target is not RETURN):
                if last is not None:
                    yield last
                return


def _visits(
    trail: Sequence[int], meaning: Sequence[int | Asking]
) -> Iterator[tuple[list[int], list[int]]]:
    # Of each hook of a table: the rules that are asked about, and those that were met.
    asked: list[int] = []
    walked: list[int] = []
    for each in trail:
        met = meaning[each]
        if isinstance(met, int):
            walked.append(met)
        elif met.number is not None:
            asked.append(met.number)
        else:
            yield asked, walked
            asked, walked = [], []
    yield asked, walked


def _told(takers: set[int | None]) -> str:
    if not takers:
        return "no packet has all that it asks for"
    by = sorted(each for each in takers if each is not None)
    if not by:
        return "no packet that it speaks of is led to its chain"
    take = "takes" if len(by) == 1 else "take"
    rest = ", of what is led to its chain" if None in takers else ""
    return f"{_listed(by)} {take} all of it{rest}"


def _listed(numbers: Sequence[int]) -> str:
    # Rules by the numbers that people count: from 1.
    said = [str(number + 1) for number in numbers]
    if len(said) == 1:
        return f"rule {said[0]}"
    return f"rules {', '.join(said[:-1])} and {said[-1]}"
