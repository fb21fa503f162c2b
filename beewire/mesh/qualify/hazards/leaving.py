"""Back to TCP while bytes flow: switched off, and detached."""

import sys
from contextlib import ExitStack
from random import Random

from beewire.mesh.qualify.exchange import CHUNK, Hearer, Sender, send_and_hear
from beewire.mesh.qualify.stand import Finding, Pair, Stand

_ROUNDS = 3
_TIMES = 2
_BURST = 600_000
_CONNECTIONS = 6


class _Flow:
    """One direction of a connection, with bytes queued all the time: small messages."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self._random = Random(seed)
        self.ends = Sender(pair.other, small=sys.maxsize), Hearer(pair.subject)

    def move(self) -> None:
        """Send some, read some of it."""
        sender, hearer = self.ends
        sender.stuff(self._random.randint(1, _BURST))
        hearer.pull_all(self._random.randint(hearer.at, sender.at))

    def end(self) -> int:
        """Read all that was sent; how much."""
        sender, hearer = self.ends
        hearer.pull_all(sender.at)
        return sender.at


def switched_off(stand: Stand) -> str:
    """`beewire mesh bypass off` while bytes lie queued: all arrive, what follows by TCP."""
    size = 0
    for number in range(_ROUNDS):
        with stand.pair() as pair:
            flows = [_Flow(each, number) for each in pair.both()]
            for time in range(_TIMES):
                stand.step(f"switch off with bytes queued, {number + 1}.{time + 1}")
                _switch_off(stand, flows)
            size += sum(flow.end() for flow in flows)
            if stand.parts:
                continue
            stand.step("back on the short path")
            before = stand.counted()
            send_and_hear(*flows[0].ends, CHUNK)
            stand.prove(before, CHUNK, "on again, and everything read")
    return (
        f"{size:,} bytes arrived in order, switched off {_ROUNDS * _TIMES} times among"
        " them"
    )


def _switch_off(stand: Stand, flows: list[_Flow]) -> None:
    _move(flows, 3)
    before = stand.counted()
    stand.switch(off=True)
    _move(flows, 3)
    if late := stand.counted().since(before).short:
        raise Finding(f"{late:,} bytes took the short path after it was off")
    stand.switch(off=False)
    _move(flows, 3)


def detached(stand: Stand) -> str:
    """Take the programs away while bytes lie queued in connections: all arrive."""
    with ExitStack() as stack:
        stand.step(f"move bytes on {_CONNECTIONS} connections")
        pairs = [stack.enter_context(stand.pair()) for _ in range(_CONNECTIONS)]
        flows = [_Flow(each, 5) for pair in pairs for each in pair.both()]
        _move(flows, 4)
        stand.step("detach every program while bytes lie queued")
        stand.detach()
        _move(flows, 8)
        size = sum(flow.end() for flow in flows)
    return f"{size:,} bytes of {_CONNECTIONS} connections arrived, programs or none"


def _move(flows: list[_Flow], times: int) -> None:
    for _ in range(times):
        for flow in flows:
            flow.move()
