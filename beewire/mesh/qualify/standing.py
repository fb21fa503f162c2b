"""What is known of this kernel: kept verdicts, if they still hold.

    standing = read(Path("/run/beewire/agent"))
    standing.allowed_tiers()          # {Tier.OFF} unless the battery has run here
    standing.why_not(Tier.ALL)        # "" if it is allowed

Kept in `qualify.json` below the agent's directory, where a restart loses nothing and a
boot forgets it.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from beewire.errors import MeshError
from beewire.mesh.qualify import tiers
from beewire.mesh.qualify.fingerprint import Fingerprint, fingerprint
from beewire.mesh.qualify.tiers import Tier
from beewire.mesh.qualify.verdicts import Verdict

FILE: Final = "qualify.json"
_RUN: Final = "`beewire mesh qualify` judges it"


class Qualification(NamedTuple):
    """What one run of the battery has found.

    `lacking` says what the programs need and the kernel has not, "" where they run; then
    each verdict is null with this reason. `taken_at` is in seconds since 1970.
    """

    fingerprint: Fingerprint
    verdicts: tuple[Verdict, ...]
    lacking: str = ""
    taken_at: float = 0.0
    seconds: float = 0.0

    def why_not(self, tier: Tier) -> str:
        """Why a tier is not allowed; "" where it is."""
        if tier is Tier.OFF:
            return ""
        return self.lacking or tiers.why_not(tier, self.verdicts)

    def allowed_tiers(self) -> frozenset[Tier]:
        """The tiers that this kernel qualifies for; `off` is always one."""
        return frozenset(tier for tier in Tier if not self.why_not(tier))

    def refused(self) -> list[Tier]:
        """The tiers that are not allowed."""
        return [tier for tier in Tier if self.why_not(tier)]

    def to_json(self) -> dict[str, Any]:
        """All of it, and what follows from it."""
        return {
            "fingerprint": self.fingerprint._asdict(),
            "taken_at": self.taken_at,
            "seconds": self.seconds,
            "lacking": self.lacking,
            "tiers": {
                tier.value: {
                    "allowed": not self.why_not(tier),
                    "why_not": self.why_not(tier),
                }
                for tier in Tier
            },
            "verdicts": [each._asdict() for each in self.verdicts],
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Qualification":
        """What `to_json` told.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(
            Fingerprint(**told["fingerprint"]),
            tuple(Verdict.from_json(each) for each in told["verdicts"]),
            told["lacking"],
            float(told["taken_at"]),
            float(told["seconds"]),
        )


class Standing(NamedTuple):
    """What holds now: `found` if it was judged as it is; else `reason` says why not."""

    found: Qualification | None
    reason: str = ""

    @property
    def is_current(self) -> bool:
        """Whether this kernel was judged, with these programs, since it was started."""
        return self.found is not None

    def verdicts(self) -> tuple[Verdict, ...]:
        """All verdicts; none where none holds."""
        return self.found.verdicts if self.found else ()

    def allowed_tiers(self) -> frozenset[Tier]:
        """The tiers that may be switched on here; `off` is always one."""
        return frozenset(tier for tier in Tier if not self.why_not(tier))

    def why_not(self, tier: Tier) -> str:
        """Why a tier is not allowed here, in one sentence; "" where it is."""
        if tier is Tier.OFF:
            return ""
        return self.found.why_not(tier) if self.found else self.reason


def read(directory: Path) -> Standing:
    """What holds on this node; `directory` is where it was written to."""
    try:
        told = json.loads((directory / FILE).read_bytes())
        found = Qualification.from_json(told)
    except FileNotFoundError:
        return Standing(None, f"this kernel was not judged yet: {_RUN}")
    except PermissionError:
        return Standing(None, f"{directory / FILE} is root's: run this as root")
    except (OSError, KeyError, TypeError, ValueError) as error:
        why = f"{directory / FILE} cannot be read ({error}): {_RUN} again"
        return Standing(None, why)
    if changed := found.fingerprint.difference(fingerprint()):
        return Standing(None, f"{changed} since this kernel was judged: {_RUN} again")
    return Standing(found)


def write(directory: Path, found: Qualification) -> None:
    """Keep what was found; nobody sees half of it.

    Raises:
        MeshError: It cannot be written.
    """
    path = directory / FILE
    fresh = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(fresh, flags, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(found.to_json(), file, indent=1)
        fresh.rename(path)
    except OSError as error:
        raise MeshError(
            f"the verdicts cannot be kept in {path}: {error.strerror}"
        ) from error


def taken(
    verdicts: tuple[Verdict, ...], *, began: float, lacking: str = ""
) -> Qualification:
    """What was found just now by a battery that `began` then (time.monotonic())."""
    return Qualification(
        fingerprint(), verdicts, lacking, time.time(), time.monotonic() - began
    )
