"""What programs write where several CPUs, or several programs, share memory.

with lock(account):                 # a spin lock in the value
account.balance += amount

old = fetch_add(stats.packets, 1)   # one step for everybody else
"""

from beewire.bpf.lang.calls import builtin
from beewire.bpf.lang.contexts import Ref, outside
from beewire.hints import AbstractContextManager

Place = int | Ref[int]
"""A field of a value, an element, or the reference that a look-up gave."""


@builtin
def lock(value: object) -> AbstractContextManager[None]:  # noqa: ARG001
    """Hold the SpinLock in a map's value: `with lock(value):` (Linux 5.1).

    It is let go on every way out of the block. In the block no helper is called, and no
    other lock taken. Tracing programs have no locks.
    """
    outside("lock")


@builtin
def rcu() -> AbstractContextManager[None]:
    """Keep what RCU protects alive in the block: `with rcu():` (Linux 6.2)."""
    outside("rcu")


@builtin
def fetch_add(place: Place, amount: int) -> int:  # noqa: ARG001
    """Add, in one step for all CPUs; the value before it (Linux 5.12)."""
    outside("fetch_add")


@builtin
def fetch_and(place: Place, mask: int) -> int:  # noqa: ARG001
    """Clear the bits that `mask` does not have; the value before it (Linux 5.12)."""
    outside("fetch_and")


@builtin
def fetch_or(place: Place, mask: int) -> int:  # noqa: ARG001
    """Set the bits of `mask`; the value before it (Linux 5.12)."""
    outside("fetch_or")


@builtin
def fetch_xor(place: Place, mask: int) -> int:  # noqa: ARG001
    """Turn the bits of `mask`; the value before it (Linux 5.12)."""
    outside("fetch_xor")


@builtin
def xchg(place: Place, value: int) -> int:  # noqa: ARG001
    """Put `value` there; the value before it (Linux 5.12)."""
    outside("xchg")


@builtin
def cmpxchg(place: Place, expected: int, value: int) -> int:  # noqa: ARG001
    """Put `value` there if `expected` is; the value before it (Linux 5.12).

    It was put there if the result is `expected`.
    """
    outside("cmpxchg")


@builtin
def load_acquire(place: Place) -> int:  # noqa: ARG001
    """Read, before all that follows (Linux 6.15)."""
    outside("load_acquire")


@builtin
def store_release(place: Place, value: int) -> None:  # noqa: ARG001
    """Write, after all that came before (Linux 6.15)."""
    outside("store_release")
