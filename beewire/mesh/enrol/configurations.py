"""The configurations of a node: immutable sets of entries, shared by pods that are alike."""

import ctypes
import time
from collections import Counter
from collections.abc import Iterable

from beewire.bpf import Loaded
from beewire.errors import BeewireError, MapError, MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.enrol.encode import Encoded, encode
from beewire.mesh.programs import state
from beewire.mesh.programs.addresses import Address
from beewire.mesh.programs.state import Config, Number, PodState, Range

_MEMBARRIER = 324  # of x86-64; elsewhere we wait
_MEMBARRIER_GLOBAL = (
    1  # MEMBARRIER_CMD_GLOBAL: synchronize_rcu() (kernel/sched/membarrier.c)
)
_GRACE_S = 0.1  # no program runs that long

_libc = ctypes.CDLL(None, use_errno=True)


class Configurations:
    """Writes configurations into the maps, once each, and takes away what nobody uses."""

    def __init__(self, loaded: Loaded) -> None:
        self._counts = loaded[state.counts]
        self._configs = loaded[state.configs]
        self._numbers = loaded[state.numbers]
        self._ranges = loaded[state.ranges]
        self._sources = loaded[state.sources]
        self._written: dict[int, list[Number]] = {}
        pods = list(loaded[state.pods].values())
        self._uses = Counter(pod.config for pod in pods)
        self._ids = {made.digest: owner for owner, made in self._configs.items()}
        self._taken = {pod.number for pod in pods}
        self._last = max([0, *self._ids.values(), *(pod.scope for pod in pods)])

    def acquire(self, config: PodConfig) -> int:
        """The owner of `config` in the maps; give it back by `release`.

        Raises:
            MeshError: A map is full; nothing has changed.
            UsageError: An owner group is a name without a number.
        """
        encoded = encode(config)
        owner = self._ids.get(encoded.config.digest)
        if owner is None:
            owner = self.new_owner()
            self._write(owner, encoded)
            self._ids[encoded.config.digest] = owner
        self._uses[owner] += 1
        return owner

    def release(self, owner: int) -> None:
        """One user less; after the last one, and those who still read it, it is gone."""
        self._uses[owner] -= 1
        if self._uses[owner] > 0:
            return
        del self._uses[owner]
        self._ids = {digest: id_ for digest, id_ in self._ids.items() if id_ != owner}
        wait_for_programs()
        self._configs.delete(owner)
        self.forget(owner)

    def settings(self, owner: int) -> Config:
        """The scalars of a configuration."""
        return self._configs[owner]

    def withdraw(self, pod: PodState) -> None:
        """A pod is gone: give back all that it used."""
        self.release(pod.config)
        if pod.scope:
            self.forget(pod.scope)
        self.give_number(pod.number)

    def take_number(self) -> int:
        """A pod's place among the counters, from 1 on; give it back by `give_number`.

        Raises:
            MeshError: There are as many pods as the node has room for.
        """
        for number in range(1, state.MAX_PODS):
            if number not in self._taken:
                self._taken.add(number)
                self._counts[number] = state.Counts()
                return number
        raise MeshError(
            f"this node has no room for more than {state.MAX_PODS - 1} pods"
        )

    def give_number(self, number: int) -> None:
        """A pod needs its place no more."""
        self._taken.discard(number)

    def new_owner(self) -> int:
        """An owner that has no entries yet."""
        self._last += 1
        return self._last

    def write(
        self,
        owner: int,
        numbers: Iterable[tuple[int, int]],
        ranges: Iterable[tuple[int, int, Address, int]],
        sources: Iterable[tuple[int, int, Address]] = (),
    ) -> None:
        """Add entries of `owner`: (list, number), and (list, bits, address, value).

        `sources` are (family, interface, address).

        Raises:
            MeshError: A map is full; what was written is taken back.
        """
        listed = {
            Number(owner=owner, listed=each, number=number): 1
            for each, number in numbers
        }
        by_interface = {
            Number(owner=owner, listed=family, number=interface): address
            for family, interface, address in sources
        }
        prefixes = {
            Range(bits=bits, listed=each, address=address): value
            for each, bits, address, value in ranges
        }
        self._written[owner] = list(listed)
        try:
            self._numbers.update(listed)
            self._sources.update(by_interface)
            self._write_ranges(owner, prefixes)
        except MapError as error:
            self.forget(owner)
            raise MeshError(
                f"{len(listed)} ports, users and groups and {len(prefixes)} ranges do not"
                f" fit the node's maps: {error}; nothing has changed"
            ) from error

    def forget(self, owner: int) -> None:
        """Delete all entries of `owner`."""
        if (numbers := self._written.pop(owner, None)) is None:  # an earlier process's
            numbers = [key for key in self._numbers if key.owner == owner]
        for number in numbers:
            self._numbers.delete(number)
        for source in [key for key in self._sources if key.owner == owner]:
            self._sources.delete(source)
        if owner in self._ranges:
            del self._ranges[owner]

    def _write_ranges(self, owner: int, prefixes: dict[Range, int]) -> None:
        if not prefixes:
            return
        trie = self._ranges.create()
        trie.update(prefixes)
        self._ranges[owner] = trie

    def _write(self, owner: int, encoded: Encoded) -> None:
        ranges = [(listed, bits, where, 1) for listed, bits, where in encoded.ranges]
        self.write(owner, encoded.numbers, ranges)
        try:
            self._configs[owner] = encoded.config
        except BeewireError:
            self.forget(owner)
            raise


def wait_for_programs() -> None:
    """Return when no program runs any more that had begun before (an RCU grace period)."""
    if _libc.syscall(_MEMBARRIER, _MEMBARRIER_GLOBAL, 0, 0) != 0:
        time.sleep(_GRACE_S)
