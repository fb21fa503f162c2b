"""Every live connection back to TCP, and on again: one word in a map.

The programs read it at each message. What is on the short path already is read first, then
what follows by TCP: no byte is lost, none overtakes another. Connections that begin while
it is off stay on TCP for good.
"""

from beewire.errors import MeshError
from beewire.mesh.enrol import ShortPath
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.switching import EVERY_POD


def switch_off(short_path: ShortPath, netns: int = 0) -> None:
    """From now on everything goes by TCP: of one pod, by its namespace's cookie, or of all.

    Raises:
        MeshError: There is no such pod on the short path, or no short path at all.
    """
    _set(short_path, netns, 1)


def switch_on(short_path: ShortPath, netns: int = 0) -> None:
    """Undo `switch_off` with the same argument: connections that have joined come back.

    Raises:
        MeshError: As `switch_off`.
    """
    _set(short_path, netns, 0)


def is_off(short_path: ShortPath, netns: int = 0) -> bool:
    """Whether `switch_off` was called for a pod, or for all of them."""
    if (loaded := short_path.found()) is None:
        return False
    number = EVERY_POD
    if netns:
        if (known := loaded[state.tiers].get(netns)) is None:
            return False
        number = known.number
    return loaded[state.off][number] != 0


def _set(short_path: ShortPath, netns: int, value: int) -> None:
    if (loaded := short_path.found()) is None:
        raise MeshError("no pod of this node takes the short path: nothing to switch")
    if not netns:
        loaded[state.off][EVERY_POD] = value
        return
    if (known := loaded[state.tiers].get(netns)) is None:
        raise MeshError(
            f"the pod of namespace {netns} does not take the short path: its tier is off"
        )
    loaded[state.off][known.number] = value
