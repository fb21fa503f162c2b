"""Ask the kernel: the programs' own decision, over batches of connections.

with Kernel() as kernel:
    asked = kernel.configure(config, {"eth0": 2})
    for action, rule in kernel.decide(asked, connections):
        ...
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from struct import Struct as Layout
from types import ModuleType
from typing import NamedTuple, Self

from beewire.bpf import collect, htons, load
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import Action, Connection, Rule
from beewire.mesh.enrol import Node
from beewire.mesh.programs import deciding, state
from beewire.mesh.programs.decision import ACTION_SHIFT
from beewire.mesh.programs.lists import LIST_BITS
from beewire.mesh.programs.state import Listed

# `deciding.Asked`; encoding it by name would take most of the time.
_ASKED = Layout("=IIIBBBBIIIII16s16sI")
_MAPPED = bytes(10) + b"\xff\xff"
_DECODED = {
    action << ACTION_SHIFT | rule: (action, rule) for action in Action for rule in Rule
}


class Asked(NamedTuple):
    """A configuration in the kernel, and the indices of interfaces by their names."""

    owner: int
    scope: int
    scope_flags: int
    interfaces: Mapping[str, int]


class Kernel:
    """The data path's programs, loaded and attached to nothing.

    `asking` is the module of the program that asks for their decision.

    Raises:
        KernelError: The kernel refused a program or a map.
    """

    def __init__(self, asking: ModuleType = deciding) -> None:
        with ExitStack() as stack:
            self._node = stack.enter_context(Node.load())
            shared = {
                each.name: self._node.loaded[each].live
                for each in (state.configs, state.numbers, state.ranges)
            }
            compiled = collect([asking.decide_batch], name="deciding")
            loaded = stack.enter_context(load(compiled, maps=shared))
            self._run = loaded[asking.decide_batch].run
            self._batch = asking.Batch
            self._flows = loaded[asking.flows].memory
            self._verdicts = memoryview(loaded[asking.verdicts].memory).cast("Q")
            stack.callback(self._verdicts.release)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close programs and maps. Closing twice does nothing."""
        self._stack.close()

    def configure(self, config: PodConfig, interfaces: Mapping[str, int]) -> Asked:
        """Write a configuration; `interfaces` gives names their indices."""
        named = {
            Listed.EXCLUDED_INTERFACES: config.exclude_interfaces,
            Listed.REROUTED_INTERFACES: config.reroute_virtual_interfaces,
        }
        numbers = [
            (int(listed), interfaces[name])
            for listed, names in named.items()
            for name in names
        ]
        flags = sum(
            1 << (LIST_BITS + listed) for listed, names in named.items() if names
        )
        owner = self._node.configure(config)
        scope = self._node.configurations.new_owner()
        self._node.configurations.write(scope, numbers, [])
        return Asked(owner, scope, flags, interfaces)

    def forget(self, asked: Asked) -> None:
        """Take a configuration away again."""
        self._node.configurations.forget(asked.scope)
        self._node.release(asked.owner)

    def decide(
        self, asked: Asked, connections: Sequence[Connection]
    ) -> list[tuple[Action, Rule]]:
        """What the programs decide on each connection, and by which rule."""
        verdicts: list[int] = []
        for first in range(0, len(connections), deciding.MOST):
            batch = connections[first : first + deciding.MOST]
            encoded = b"".join([_encode(asked, each) for each in batch])
            self._flows[: len(encoded)] = encoded
            self._run(self._batch(count=len(batch)))
            verdicts += self._verdicts[: len(batch)].tolist()
        return [_DECODED[verdict] for verdict in verdicts]


def _encode(asked: Asked, connection: Connection) -> bytes:
    return _ASKED.pack(
        asked.owner,
        asked.scope,
        asked.scope_flags,
        connection.protocol,
        connection.destination.version == 6,
        connection.local,
        connection.in_proxy,
        htons(connection.destination_port),
        connection.uid,
        connection.gid,
        asked.interfaces.get(connection.interface, 0),
        connection.mark,
        _words(connection.source),
        _words(connection.destination),
        connection.direction,
    )


def _words(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed if address.version == 6 else _MAPPED + address.packed
