"""Shadow mode: decide beside iptables without acting, compare, switch, switch back.

    enrolment = node.enrol(pod, mode=PodMode.SHADOW)     # Istio's rules act
    report = read(node.loaded, enrolment.netns)          # what was compared so far
    cutover(enrolment, node.loaded, pod.netns)           # Beewire acts
    rollback(enrolment, node.loaded, pod.netns)          # the rules act again
    finish(enrolment, pod.netns)                         # or are removed, after cutover

A pod in shadow mode is enrolled, and its programs decide on every connection, but leave it
alone. Each decision is compared with what the rules did, and counted by rule. Cutover and
rollback change who acts, without a moment in which nobody does, and leave connections that
are open alone.

    report     outcomes by rule
    why        a disagreement in words: the rule on each side
    rules      Istio's rules in a namespace: found, passed over, given back, removed
    present    whether there are any rules at all
    conntrack  connections that they have redirected
    switch     cutover, rollback, finish
"""

from beewire.mesh.programs.shadow import Seen
from beewire.mesh.programs.state import PodMode
from beewire.mesh.shadow.report import Report, Row, as_json, read, text_of
from beewire.mesh.shadow.rules import act as rules_act
from beewire.mesh.shadow.rules import check as check_rules
from beewire.mesh.shadow.rules import give_back
from beewire.mesh.shadow.switch import (
    ENOUGH,
    Switched,
    check_finish,
    cutover,
    finish,
    rollback,
    state_of,
)
from beewire.mesh.shadow.why import disagreement_text

__all__ = [
    "ENOUGH",
    "PodMode",
    "Report",
    "Row",
    "Seen",
    "Switched",
    "as_json",
    "check_finish",
    "check_rules",
    "cutover",
    "disagreement_text",
    "finish",
    "give_back",
    "read",
    "rollback",
    "rules_act",
    "state_of",
    "text_of",
]
