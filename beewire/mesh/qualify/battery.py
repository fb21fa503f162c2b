"""Meet every hazard, one after the other, each in a process of its own."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.qualify import isolated
from beewire.mesh.qualify.enrolled import Enrolled, Lacking
from beewire.mesh.qualify.ground import Ground
from beewire.mesh.qualify.hazards import HAZARDS, STALLED, Hazard, Way
from beewire.mesh.qualify.hazards.stalling import MOST
from beewire.mesh.qualify.isolated import Line, Result
from beewire.mesh.qualify.live import Live, NoPrograms, Programs
from beewire.mesh.qualify.stand import UNBOUNDED, Counted, Finding, Leg
from beewire.mesh.qualify.standing import Qualification, taken
from beewire.mesh.qualify.verdicts import HazardClass, Outcome, Role, Verdict

TWIN: Final = "unbounded_twin"
Tell = Callable[[Verdict], None]

_BAD_FIRST = (Outcome.FAIL, Outcome.NULL, Outcome.PASS)


def qualify(
    hazards: Sequence[Hazard] = HAZARDS, tell: Tell = lambda _: None
) -> Qualification:
    """Judge this kernel; `tell` is told of each verdict as it is found.

    Where the kernel lacks what the programs stand on, all verdicts are null, and none is
    told.

    Takes two pods of its own for as long as it runs: namespaces and cgroups whose names
    begin with `bw-`.

    Raises:
        MeshError: The pods cannot be made: not root, say, or no cgroup2.
    """
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with Ground() as ground:
        try:
            for verdict in _every(ground, hazards):
                verdicts.append(verdict)
                tell(verdict)
        except Lacking as lacking:
            null = tuple(_null(hazards, str(lacking)))
            return taken(null, began=began, lacking=str(lacking))
    return taken(tuple(verdicts), began=began)


def _every(ground: Ground, hazards: Sequence[Hazard]) -> Iterator[Verdict]:
    with Enrolled(ground) as programs:
        for hazard in hazards:
            yield from judge(ground, programs, hazard)
        for hazard in hazards:
            if hazard.name == STALLED:
                yield from twin(ground, programs, hazard)


def twin(ground: Ground, programs: Programs, hazard: Hazard) -> list[Verdict]:
    """The same programs without a bound: whoever does not see that sees nothing."""
    unbounded = hazard._replace(limits=UNBOUNDED)
    told = []
    for role, legs in hazard.legs.items():
        met = {leg: meet(ground, programs, unbounded, leg) for leg in legs}
        blind = [leg.value for leg, result in met.items() if not _is_caught(result)]
        says = next(iter(met.values())).says
        if blind:
            outcome = Outcome.FAIL
            says = (
                f"{', '.join(blind)}: the battery does not see a missing bound: {says}"
            )
        else:
            outcome, says = (
                Outcome.PASS,
                f"without a bound the same hazard fails: {says}",
            )
        told.append(_twin_verdict(role, outcome, says, met))
    return told


def _is_caught(result: Result) -> bool:
    return result.outcome is Outcome.FAIL and result.counted.short >= MOST // 2


def _twin_verdict(
    role: Role, outcome: Outcome, says: str, met: dict[Leg, Result]
) -> Verdict:
    counted = _sum(met)
    return Verdict(
        TWIN,
        HazardClass.A,
        role,
        outcome,
        says,
        short_bytes=counted.short,
        tcp_bytes=counted.tcp,
        seconds=sum(each.seconds for each in met.values()),
    )


def _null(hazards: Iterable[Hazard], why: str) -> list[Verdict]:
    return [
        Verdict(
            hazard.name,
            hazard.hazard_class,
            role,
            Outcome.NULL,
            why,
            hazard.unmet.get(role, ""),
        )
        for hazard in hazards
        for role in hazard.legs
    ]


def judge(ground: Ground, programs: Programs, hazard: Hazard) -> list[Verdict]:
    """Meet one hazard on every leg that it has; a verdict for each role."""
    met: dict[Leg, Result] = {}
    verdicts = []
    for role, legs in hazard.legs.items():
        for leg in legs:
            if leg not in met:
                met[leg] = _judged(ground, programs, hazard, leg)
        verdicts.append(_verdict(hazard, role, {each: met[each] for each in legs}))
    return verdicts


def _judged(ground: Ground, programs: Programs, hazard: Hazard, leg: Leg) -> Result:
    found = meet(ground, programs, hazard, leg)
    if found.outcome is not Outcome.FAIL:
        return found
    # What fails by TCP as well tells nothing of the short path.
    programs.attach(hazard.limits)
    programs.switch(off=True)
    try:
        alone = meet(ground, NoPrograms(), hazard, leg, prove=False)
    finally:
        programs.switch(off=False)
    if alone.outcome is not Outcome.FAIL:
        return found
    says = f"{found.says}; by TCP alone it fails here, too: {alone.says}"
    # Of a hazard that loses bytes, not to know is to fail.
    is_listed_only = hazard.hazard_class is HazardClass.B
    return found._replace(
        says=says, outcome=Outcome.NULL if is_listed_only else Outcome.FAIL
    )


def meet(
    ground: Ground, programs: Programs, hazard: Hazard, leg: Leg, *, prove: bool = True
) -> Result:
    """Meet a hazard on one leg; with `prove`, its bytes have to take the way they should."""
    programs.attach(hazard.limits)  # one hazard takes them away

    def act(line: Line) -> tuple[Callable[[], str], Callable[[], Counted]]:
        stand = Live(ground, programs, leg, line, parts=hazard.parts(leg))

        def do() -> str:
            says = hazard.meet(stand)
            if prove:
                _prove(hazard, leg, stand.counted())
            return says

        return do, stand.counted

    return isolated.run(
        act, limit_s=hazard.limit_s * PATIENCE, serve=lambda _: programs.detach()
    )


def _prove(hazard: Hazard, leg: Leg, counted: Counted) -> None:
    """Make sure that a hazard was met on the way that is judged.

    Raises:
        Finding: It was not: whatever was seen says nothing.
    """
    told = f"{counted.short:,} bytes took the short path and {counted.tcp:,} TCP"
    least = hazard.least(leg)
    if hazard.way is Way.TCP:
        if counted.short:
            raise Finding(f"it was not left on TCP: {told}, by the programs' counters")
    elif counted.short < least or (hazard.way is Way.BOTH and not counted.tcp):
        raise Finding(
            f"nothing is proved: {told}, by the programs' counters, where"
            f" {least:,} should take the short path"
            + (" and some TCP" if hazard.way is Way.BOTH else "")
        )


def _verdict(hazard: Hazard, role: Role, met: dict[Leg, Result]) -> Verdict:
    # A role is as safe as the worst of its legs.
    leg = min(met, key=lambda each: _BAD_FIRST.index(met[each].outcome))
    worst = met[leg]
    says = worst.says
    if worst.outcome is Outcome.FAIL and len(met) > 1:
        says = f"{leg.value}: {says}"
    counted = _sum(met)
    return Verdict(
        hazard.name,
        hazard.hazard_class,
        role,
        worst.outcome,
        says,
        hazard.unmet.get(role, ""),
        counted.short,
        counted.tcp,
        sum(each.seconds for each in met.values()),
        worst.trace,
    )


def _sum(met: dict[Leg, Result]) -> Counted:
    counted = Counted()
    for each in met.values():
        counted = counted.plus(each.counted)
    return counted
