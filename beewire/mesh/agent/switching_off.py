"""Switch the short path off and on, whether an agent lives or not.

What is off stands in files (`bypassing.Switch`), which every agent reads before it gives a
pod its tier, and, for the connections that are there, in a pinned map that `sk_msg` reads
at each message. Both are written here, by whoever switches off: an agent that is dead, or
hangs, is not needed.
"""

from collections.abc import Callable

from beewire.errors import MeshError
from beewire.mesh import bypass
from beewire.mesh.agent import records
from beewire.mesh.agent.bypassing import NODE, Switch
from beewire.mesh.agent.directories import Directories, is_roots
from beewire.mesh.agent.records import PodRecord
from beewire.mesh.enrol import ShortPath
from beewire.mesh.programs.bypass import state


def switch_off(directories: Directories, pod: str = "") -> list[PodRecord]:
    """Take the connections of all pods, or of one, back to TCP; the pods that are meant.

    From now on no message goes by the short path; what waits there is read first.

    Raises:
        MeshError: there is no such pod.
    """
    found = _meant(directories, pod)
    switch = Switch(directories)
    for which in [each.id for each in found] if pod else [NODE]:
        switch.set_off(which)
    _switch(directories, int(found[0].id) if pod else 0, bypass.switch_off)
    return found


def switch_on(directories: Directories, pod: str = "") -> list[PodRecord]:
    """Let pods have their tiers again; those that are meant. The rest is the agent's.

    Raises:
        MeshError: there is no such pod, or the whole node is off.
    """
    switch = Switch(directories)
    if pod and switch.is_off(NODE):
        raise MeshError(
            "the short path is switched off on the whole node: `beewire mesh bypass on`"
            " first"
        )
    found = _meant(directories, pod)
    for which in [each.id for each in found] if pod else [NODE]:
        switch.set_on(which)
    # A pod's own is the agent's to undo, with its tier.
    if not pod:
        _switch(directories, 0, bypass.switch_on)
    return found


def _meant(directories: Directories, pod: str) -> list[PodRecord]:
    try:
        if pod:
            return [records.get(directories, pod)]
        return list(records.every(directories))
    except PermissionError as error:
        raise is_roots(directories.run) from error


def _switch(
    directories: Directories, netns: int, switch: Callable[[ShortPath, int], None]
) -> None:
    with ShortPath.at(directories.set) as path:
        # Where no pod has a tier, nothing goes by the short path.
        loaded = path.found()
        if loaded is not None and (not netns or netns in loaded[state.tiers]):
            switch(path, netns)
