"""What the battery found: one verdict per hazard and role."""

from enum import StrEnum
from typing import Any, NamedTuple


class Role(StrEnum):
    """Whose sockets a hazard is judged for, at the ends of which connections."""

    SIDECAR = "sidecar"  # between two sidecars
    APPLICATION = "application"  # between an application and its sidecar
    SHORTCUT = "shortcut"  # between a sidecar and another pod's application
    SPLICE = "splice"  # between two pods' applications


class HazardClass(StrEnum):
    """How bad a hazard is.

    A loses, misorders or misdelivers bytes, takes memory without bound, or hangs: what can
    meet it does not take the short path. B changes what a call tells, and is listed.
    """

    A = "A"
    B = "B"


class Outcome(StrEnum):
    """What came of one hazard; NULL where this kernel cannot run it."""

    PASS = "pass"
    FAIL = "fail"
    NULL = "null"


class Verdict(NamedTuple):
    """One hazard for one role.

    `says` is one sentence: what was seen. `unmet` says why sockets of this role cannot
    meet the hazard, "" where they can: a failure then binds nobody. `short_bytes` and
    `tcp_bytes` are what the programs counted meanwhile, in both directions. `trace` is for
    whoever has to mend the battery.
    """

    hazard: str
    hazard_class: HazardClass
    role: Role
    outcome: Outcome
    says: str
    unmet: str = ""
    short_bytes: int = 0
    tcp_bytes: int = 0
    seconds: float = 0.0
    trace: str = ""

    @property
    def binds(self) -> bool:
        """Whether it keeps sockets of its role off the short path."""
        return (
            self.hazard_class is HazardClass.A
            and self.outcome is Outcome.FAIL
            and not self.unmet
        )

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Verdict":
        """The verdict that `_asdict` told.

        Raises:
            TypeError: fields are missing, or there are others.
            ValueError: one has a value that there is not.
        """
        made = cls(**told)
        return made._replace(
            hazard_class=HazardClass(made.hazard_class),
            role=Role(made.role),
            outcome=Outcome(made.outcome),
        )
