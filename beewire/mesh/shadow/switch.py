"""Cutover and rollback: who acts in a pod, Beewire or Istio's rules.

What acts is said in two places, and in no third that could contradict them: the pod's mode
in the programs' map, and the rules that pass Istio's over (rules.py).

                     mode      rules         who acts
    shadow           SHADOW    act           Istio's rules
    between          BESIDE    act           both, which is harmless
    cut over         BESIDE    passed over   Beewire
    (never made)     SHADOW    passed over   nobody

Cutover goes down that table and rollback up, one atomic step at a time, so that whoever
dies in between leaves a pod that is intercepted. Both begin where they find the pod.

While both act nothing meets twice: what Beewire has rewritten goes to a loopback address
and to a port that no rule redirects; what the rules have redirected arrives at the
sidecar's port, whose listener Beewire would choose, too, and the kernel's own answer to
SO_ORIGINAL_DST stays. BESIDE differs from ACTING in one thing: over IPv6 the rules send to
`::1`, and Beewire then does not.
"""

from pathlib import Path
from typing import NamedTuple

from beewire.bpf import Loaded
from beewire.errors import MeshError
from beewire.mesh.config import InterceptionMode
from beewire.mesh.enrol import Enrolment
from beewire.mesh.programs.state import PodMode
from beewire.mesh.shadow import conntrack, rules
from beewire.mesh.shadow.report import Report, read
from beewire.mesh.shadow.why import disagreement_text

ENOUGH = (
    100  # connections that have to be compared before cutover, unless told otherwise
)


class Switched(NamedTuple):
    """What a cutover or a rollback did.

    `changed` is False where all was so already. `report` is what had been compared;
    `rules` counts Istio's rules in the namespace.
    """

    changed: bool
    mode: PodMode
    report: Report
    rules: int


def state_of(enrolment: Enrolment, netns: Path) -> tuple[PodMode, bool]:
    """Whether the programs act, and whether Istio's rules do.

    Raises:
        MeshError: the pod, or its namespace, is gone.
    """
    tables = rules.find(netns)
    return enrolment.mode, bool(tables) and not rules.are_passed_over(tables)


def cutover(
    enrolment: Enrolment, loaded: Loaded, netns: Path, *, least: int = ENOUGH
) -> Switched:
    """Let Beewire act in the place of Istio's rules; connections stay.

    Raises:
        MeshError: the two sides disagreed, fewer than `least` connections were compared,
            there are no rules, or the sidecar's listener is not known. Nothing has
            changed.
        KernelError: the kernel refused; nothing has changed.
    """
    tables = rules.find(netns)
    if not tables:
        raise MeshError(
            f"there are no rules of Istio's in {netns}: nothing to take over from"
        )
    report = read(loaded, enrolment.netns)
    count = sum(table.size for table in tables)
    if enrolment.mode is not PodMode.SHADOW and rules.are_passed_over(tables):
        return Switched(False, PodMode.BESIDE, report, count)
    if enrolment.mode is PodMode.SHADOW:
        _check(enrolment, netns, report, least)
    try:
        enrolment.switch(PodMode.BESIDE)
        # Whatever was decided meanwhile is counted by now, too.
        report = read(loaded, enrolment.netns)
        _check_agreement(enrolment, netns, report)
        rules.pass_over(netns)
    except BaseException:
        rollback(enrolment, loaded, netns)
        raise
    return Switched(True, PodMode.BESIDE, report, count)


def rollback(enrolment: Enrolment, loaded: Loaded, netns: Path) -> Switched:
    """Let Istio's rules act in the place of Beewire; connections stay.

    The pod is in shadow mode then.

    Raises:
        MeshError: there are no rules any more, or the kernel refused to let them act.
            Beewire goes on to act.
        KernelError: the kernel refused to attach what compares; the rules act, and so
            does Beewire.
    """
    tables = rules.find(netns)
    if not tables:
        raise MeshError(
            f"there are no rules of Istio's in {netns}: rolled back, nothing would"
            " intercept; `beewire mesh down` withdraws the pod"
        )
    passed = any(table.passed for table in tables)
    changed = passed or enrolment.mode is not PodMode.SHADOW
    if passed:
        rules.give_back(netns)
    if enrolment.mode is not PodMode.SHADOW:
        enrolment.switch(PodMode.SHADOW)
    report = read(loaded, enrolment.netns)
    return Switched(
        changed, PodMode.SHADOW, report, sum(table.size for table in tables)
    )


def check_finish(enrolment: Enrolment, netns: Path) -> None:
    """Make sure that nothing depends on Istio's rules any more.

    Raises:
        MeshError: the rules act, or are needed.
    """
    _check_passed(enrolment, rules.find(netns))
    if enrolment.pod.config.inbound_interception_mode is InterceptionMode.TPROXY:
        raise MeshError(
            "under TPROXY the sidecar calls its application from clients' addresses, and"
            " answers find it by Istio's rules: they go with the pod"
        )
    if left := conntrack.redirected(netns):
        raise MeshError(
            f"conntrack knows {left} connections that Istio's rules redirected: removing"
            " the rules would reset them; do it again when they have ended"
        )


def finish(enrolment: Enrolment, netns: Path) -> int:
    """Remove Istio's rules, which are passed over; how many there were.

    There is no way back: their redirected connections must have ended.

    Raises:
        MeshError: as `check_finish`, and nothing has changed; or the kernel refused a
            table, and those before it are gone. Beewire acts, and doing it again goes on.
    """
    check_finish(enrolment, netns)
    removed = rules.remove(netns, enrolment.pod.config)
    # Only now: over IPv6, conntrack might change the port of what is sent to ::1.
    enrolment.switch(PodMode.ACTING)
    return removed


def _check_passed(enrolment: Enrolment, tables: tuple[rules.Table, ...]) -> None:
    if enrolment.mode is PodMode.SHADOW or not rules.are_passed_over(tables):
        raise MeshError(
            "Istio's rules act: `beewire mesh cutover` passes them over first"
        )


def _check(enrolment: Enrolment, netns: Path, report: Report, least: int) -> None:
    _check_agreement(enrolment, netns, report)
    if report.compared < least:
        raise MeshError(
            f"only {report.compared} connections were compared, and {least} are asked"
            " for (--min-compared): let the pod work in shadow mode for longer"
        )
    if not enrolment.has_listener():
        raise MeshError(
            "the sidecar's inbound listener is not known: it does not listen, and Beewire"
            " would refuse every inbound connection"
        )


def _check_agreement(enrolment: Enrolment, netns: Path, report: Report) -> None:
    if not report.disagreed:
        return
    error = MeshError(
        f"{report.disagreed} of {report.compared} connections would not go where Istio's"
        " rules send them: Istio's rules go on to act"
    )
    for row in report.disagreements:
        error.add_note(disagreement_text(row, enrolment.pod.config, netns))
    raise error
