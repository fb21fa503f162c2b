"""Why two sides disagree: Beewire's rule and setting, and the rule of Istio's."""

from pathlib import Path

from beewire.errors import UsageError
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import Action, Connection, decide, knob
from beewire.mesh.programs.shadow import Seen
from beewire.mesh.shadow import rules
from beewire.mesh.shadow.iptables import Table
from beewire.mesh.shadow.report import Row, text_of

_BEEWIRE = {
    Action.PASS: "leaves it alone",
    Action.TO_OUTBOUND: "sends it to the sidecar (outbound)",
    Action.TO_INBOUND: "sends it to the sidecar (inbound)",
    Action.TO_DNS: "sends it to the agent's resolver",
    Action.REFUSE: "refuses it",
}
_REDIRECTS = ("-j REDIRECT", "-j TPROXY")
_RULES = {
    Seen.PASS: "left it alone",
    Seen.TO_OUTBOUND: "sent it to the sidecar (outbound)",
    Seen.TO_INBOUND: "sent it to the sidecar (inbound)",
    Seen.TO_DNS: "sent it to the agent's resolver",
    Seen.REFUSE: "refused it",
    Seen.ELSEWHERE: "sent it to a port that is none of the sidecar's",
    Seen.NOTHING: "were not met",
}


def disagreement_text(row: Row, config: PodConfig, netns: Path) -> str:
    """One kind of disagreement as a sentence: an example, and the rule on each side."""
    times = "once" if row.times == 1 else f"{row.times} times"
    rule = rule_of_istio(row.example, netns)
    by = f", by `{rule}`" if rule else ""
    return (
        f"{text_of(row.example)} ({times}): Beewire {_BEEWIRE[row.decided]}, by"
        f" {rule_of_beewire(row, config)}; iptables {_RULES[row.seen]}{by}"
    )


def rule_of_beewire(row: Row, config: PodConfig) -> str:
    """Beewire's rule with what it matched, and the setting that put it there."""
    verdict = decide(config, row.example)
    said = row.rule.name
    if verdict.rule is not row.rule:  # the connection's interface or mark decided
        return said
    if verdict.item is not None:
        said += f" {verdict.item}"
    setting = knob(config, verdict)
    return f"{said} ({setting})" if setting else said


def rule_of_istio(connection: Connection, netns: Path) -> str:
    """The rule of Istio's in a namespace that decides about a connection; "" for none."""
    # Only where something is wrong: the proof of parity imports much.
    from beewire.mesh.parity import oracle_iptables  # noqa: PLC0415
    from beewire.mesh.parity.judge import packet_of  # noqa: PLC0415
    from beewire.mesh.parity.oracle import Oracle  # noqa: PLC0415

    found = [each for each in rules.find(netns) if isinstance(each, Table)]
    try:
        oracle = Oracle(
            table
            for each in found
            for table in oracle_iptables.tables(each.backend.version, each.text)
        )
    except UsageError:  # a rule that is none of Istio's, in its table
        return ""
    outcome = oracle.decide(packet_of(connection))
    met = [oracle.rules[number] for number in outcome.trail]
    # What goes back in by loopback meets the rules of the way in, too, and raw redirects
    # nothing: the one that redirected it decided, else the last one of nat.
    deciding = [rule for rule in met if any(each in rule.text for each in _REDIRECTS)]
    last = [*(rule for rule in met if rule.table == "nat"), *deciding]
    return f"-t {last[-1].table} {last[-1].text}" if last else ""
