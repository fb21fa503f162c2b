"""How far each pod's connections are shortened: asked for, allowed, and switched off.

A pod's configuration asks. The kernel has to have qualified for it
(`beewire.mesh.qualify`), and nobody may have switched the short path off. What is less than
was asked for has a reason.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from beewire.mesh import qualify
from beewire.mesh.config import Bypass, PodConfig
from beewire.mesh.enrol.short_path import flags_of, tier_of
from beewire.mesh.programs.bypass.state import Tier, TierFlag
from beewire.mesh.qualify import Standing

_LESS = {Bypass.ALL: Bypass.SIDECARS}  # what is left where the more is not allowed


class Tiering(NamedTuple):
    """What a pod gets.

    `asked` is "" where nothing was said; `why` has a sentence for each thing that is less
    than was asked for.
    """

    asked: str
    tier: Bypass
    shortcut: bool
    splice: bool
    why: tuple[str, ...] = ()

    def bound(self, config: PodConfig) -> PodConfig:
        """The configuration as the data path may have it."""
        return replace(
            config, bypass=self.tier, shortcut=self.shortcut, splice=self.splice
        )

    @property
    def shortened(self) -> tuple[Tier, TierFlag]:
        """The same as the programs' maps have it."""
        config = self.bound(PodConfig())
        return tier_of(config), flags_of(config)

    def to_json(self) -> dict[str, Any]:
        """All of it, by name."""
        return {**self._asdict(), "tier": self.tier.value, "why": list(self.why)}

    def __str__(self) -> str:
        """In one line: "short path: sidecars; not all: ..."."""
        more = [name for name in ("shortcut", "splice") if getattr(self, name)]
        told = ", ".join((self.tier.value, *more))
        return f"short path: {told}" + "".join(f"; {each}" for each in self.why)


def tiering(config: PodConfig, standing: Standing, off: str = "") -> Tiering:
    """What a pod of this configuration gets; `off` says why all of it is switched off."""
    asked = config.bypass.value if config.bypass else ""
    wanted = config.bypass or Bypass.SIDECARS
    if off:
        why = (off,) if wanted is not Bypass.OFF or _more(config) else ()
        return Tiering(asked, Bypass.OFF, shortcut=False, splice=False, why=why)
    tier, reasons = _allowed(wanted, standing)
    switches = {"shortcut": config.shortcut, "splice": config.splice}
    for name, wants in switches.items():
        if wants and (reason := standing.why_not(qualify.Tier(name))):
            switches[name] = False
            reasons.append(f"no {name}: {reason}")
    return Tiering(asked, tier, **switches, why=tuple(dict.fromkeys(reasons)))


def _more(config: PodConfig) -> bool:
    return config.shortcut or config.splice


def _allowed(wanted: Bypass, standing: Standing) -> tuple[Bypass, list[str]]:
    reasons: list[str] = []
    for tier in _descent(wanted):
        reason = standing.why_not(qualify.Tier(tier.value))
        if not reason:
            return tier, reasons
        if not reasons:
            reasons.append(f"not {tier.value}: {reason}")
    return Bypass.OFF, reasons


def _descent(wanted: Bypass) -> Iterator[Bypass]:
    yield wanted
    if wanted in _LESS:
        yield _LESS[wanted]
