"""Memory that the kernel changes while Python looks: what is read and written when.

A program fills a record, clears the busy bit of its header and moves its position on; a
reader looks at these in the opposite order, and gives the room back last. A writer of a
user ring is the program's counterpart.

- Positions are words of 64 bits. An item of a memoryview of format Q is read, and
  written, by one memcpy of 8 aligned bytes, which compilers make one load or store:
  nobody sees a half. (`struct` would go byte by byte.)
- The only part of a header that changes once the producer's position covers it is its
  highest byte (busy, discard): however it is loaded, it is the old one or the new one.
- x86 keeps loads in order, and stores behind what came before them. Elsewhere `order()`
  does, by going through a lock twice: the release of the first round and the acquire of
  the second are ordered by the architecture (arm64: a load-acquire stays behind an
  earlier store-release), so that nothing passes both.
- Before a reader sleeps, its position has to be visible and the producer's be looked at
  again, or each side could miss the other's step: this is the one thing that x86
  reorders, too. `full()` is the same pair of rounds on every machine.
"""

from _thread import allocate_lock

from beewire.bpf.kernel.syscall import STRONGLY_ORDERED


class Fence:
    """Keeps accesses to shared memory in the order in which they are written."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()

    def order(self) -> None:
        """Keep later loads behind earlier ones, and stores behind all of them."""
        if not STRONGLY_ORDERED:
            self.full()

    def full(self) -> None:
        """Keep whatever follows behind whatever came before."""
        for _ in range(2):
            with self._lock:
                pass
