"""The off switch: read at each message, set by whoever can write a map."""

from beewire.bpf import u32
from beewire.mesh.programs.bypass.state import off

EVERY_POD = 0  # no pod has this number


def is_set(number: u32) -> bool:
    """Whether one switch is set."""
    if (found := off.lookup(number)) is None:
        return False
    return found.value != 0


def is_off(number: u32) -> bool:
    """Whether a pod's connections are to go by TCP."""
    return is_set(EVERY_POD) or is_set(number)
