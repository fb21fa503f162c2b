"""What the kernel that will run an object has: instruction set, and abilities by name.

A compiler asks a Target before it writes an instruction, and writes something else, or
refuses, where the answer is no. It is plain data; `kernel.running()` is a Target that
asks the running kernel, each question once and only when somebody asks it.
"""

from beewire.errors import SpecError
from beewire.hints import Sequence

LEVELS = (1, 2, 3, 4)

MAY_GOTO = "may_goto"
ITERATORS = "iterators"
LOOP_HELPER = "bpf_loop"
FETCH = "fetch"
ACQUIRE = "acquire"
CONTEXT_STORES = "context-stores"

# What each ability is, and since which mainline kernel there is it.
FEATURES = {
    MAY_GOTO: ("loops that the kernel bounds by may_goto", "6.9"),
    ITERATORS: ("open-coded iterators (bpf_iter_num_new)", "6.4"),
    LOOP_HELPER: ("the helper bpf_loop", "5.17"),
    FETCH: ("atomics that give back the old value", "5.12"),
    ACQUIRE: ("load-acquire and store-release", "6.15"),
    CONTEXT_STORES: ("constants stored into the context", "6.3"),
}
# What `Target()` has: CO-RE by the kernel came with the same one, Linux 5.17.
PORTABLE = (LOOP_HELPER, FETCH)


class Target:
    """An instruction set, v1 to v4 as clang's -mcpu counts, and names of FEATURES.

    `Target()` is v3 with what Linux 5.17 has, for objects that travel.

    Raises:
        SpecError: There is no such level or feature.
    """

    __slots__ = ("_features", "_level")

    def __init__(self, level: int = 3, features: Sequence[str] = PORTABLE) -> None:
        self._level = level
        # All of them came later than the atomics.
        self._features = frozenset(features) | {FETCH for _ in features}
        if level not in LEVELS:
            raise SpecError(f"there is no instruction set v{level}, only v1 to v4")
        unknown = self._features - FEATURES.keys()
        if unknown:
            known = ", ".join(FEATURES)
            raise SpecError(f"no kernel has {min(unknown)!r}: features are {known}")

    def __repr__(self) -> str:
        return f"Target({self._level}, {sorted(self._features)})"

    def at_least(self, level: int) -> bool:
        """Whether instructions of this level may be used."""
        return self._level >= level

    def has(self, feature: str) -> bool:
        """Whether the kernel has one of FEATURES."""
        return feature in self._features


def parse_target(text: str) -> Target:
    """The Target that a command line names: "v2", "v3,may_goto,fetch".

    Without features, those of `Target()`.

    Raises:
        SpecError: A word is neither a level nor a feature.
    """
    first, *features = text.replace(" ", "").split(",")
    number = first.removeprefix("v")
    if not number.isdecimal():
        raise SpecError(f"a target begins with v1, v2, v3 or v4, not {first!r}")
    return Target(int(number), features or PORTABLE)


PLAIN = Target()
