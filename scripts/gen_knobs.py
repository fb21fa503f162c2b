"""Write docs/mesh/knobs.md from the table of knobs.

python scripts/gen_knobs.py            write it
python scripts/gen_knobs.py --check    say whether it is what the table makes
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from beewire.mesh.config.knobs import KNOBS, TOOL_FLAGS, Knob, Support
from beewire.mesh.config.pod import PodConfig

PAGE = Path(__file__).parent.parent / "docs" / "mesh" / "knobs.md"

HEAD = """\
# Every knob of Istio's interception, and Beewire's own

<!-- Made by scripts/gen_knobs.py from beewire/mesh/config/knobs.py: edit that. -->

[](configuration.md) says how they are given. A knob is

- *honoured*: it decides as Istio's rules do, which `beewire mesh parity` proves,
- *honoured, with a difference* that its row names,
- *not needed*: it arranges what Beewire does without; it may be set,
- *refused*: a pod that sets it is not enrolled, and is told why.

`beewire mesh rules` prints Istio's rules for all of them, the refused ones included.
*Parity* is what `beewire mesh parity` found over random configurations of all of them and
random connections: no difference that is not named here ([](parity.md)).
"""
WORDS = {
    Support.HONOURED: "honoured",
    Support.DELTA: "honoured, with a difference",
    Support.UNNEEDED: "not needed",
    Support.REFUSED: "refused",
}
PARITY = {
    Support.HONOURED: "decides alike",
    Support.DELTA: "alike, but for what it names",
    Support.UNNEEDED: "nothing to compare",
    Support.REFUSED: "its rules are printed only",
}

MEMBERSHIP = """\
## Whether a pod is in the mesh

These turn nothing that a rule says; they decide whether there are rules.

| annotation | with Beewire |
|---|---|
| `sidecar.istio.io/inject` (label or annotation) | as Istio's CNI plugin reads it: a manifest that says `false` is left alone, and `beewire mesh check` says so |
| `sidecar.istio.io/status` | the injector leaves it; by it `beewire-cni` knows the pods of the mesh, unless its entry has `"select": "all"` |
| `istio.io/dataplane-mode`, `ambient.istio.io/dns-capture`, `ambient.istio.io/bypass-inbound-capture` | of ambient mode, which leaves pods with a sidecar out: noted, without effect, as in Istio |
"""


def page() -> str:
    """The whole page."""
    parts = (HEAD, overview(), MEMBERSHIP, *map(section, KNOBS), tool_flags())
    return "\n".join(parts)


def overview() -> str:
    """One row a knob."""
    rows = ["| knob | annotation | flag | support | parity |", "|---|---|---|---|---|"]
    for knob in KNOBS:
        annotation = code(knob.annotations[-1]) if knob.annotations else ""
        flag = code(f"-{knob.short}" if knob.short else f"--{knob.flag}")
        rows.append(
            f"| `{knob.path}` | {annotation} | {flag if knob.flag else ''}"
            f" | {WORDS[knob.support]} | {parity(knob)} |"
        )
    return "\n".join([*rows, ""])


def parity(knob: Knob) -> str:
    """What comparing with Istio's rules says of a knob."""
    if not knob.istio and (knob.is_beewires or not knob.annotations):
        return "Beewire's own"
    return PARITY[knob.support]


def section(knob: Knob) -> str:
    """One knob: a heading, a sentence, and where it is turned."""
    rows = [("Beewire file", code(knob.path)), *places(knob)]
    rows.append(("takes", knob.kind.takes))
    rows += defaults(knob)
    lines = [f"## `{knob.path}`", "", f"{knob.does[0].upper()}{knob.does[1:]}.", ""]
    lines += [
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in rows),
        "",
    ]
    told = f"**{WORDS[knob.support].capitalize()}.** {knob.parity}".rstrip()
    return "\n".join([*lines, told, ""])


def places(knob: Knob) -> list[tuple[str, str]]:
    """Every other place where the knob is turned."""
    rows = []
    if knob.annotations:
        rows.append(("annotation", listed(reversed(knob.annotations))))
    if knob.flag:
        short = f"`-{knob.short}`, " if knob.short else ""
        rows.append(("istio-iptables", f"{short}`--{knob.flag}`"))
    if knob.variables:
        rows.append(("environment", listed(reversed(knob.variables))))
    if knob.helm:
        rows.append(("Helm value", code(knob.helm)))
    return rows


def defaults(knob: Knob) -> list[tuple[str, str]]:
    """What holds where nothing is said: of istio-iptables, and of a pod."""
    if knob.name == "status_port":
        return []
    own = knob.unsaid or spelled(knob, knob.default)
    if knob.pod_default is None or knob.pod_default == knob.default:
        return [("default", own)]
    return [("default", f"{spelled(knob, knob.pod_default)} in a pod; {own} by flags")]


def spelled(knob: Knob, value: object) -> str:
    """A value as it is written; an empty list in words."""
    text = knob.kind.write(value)
    return code(text) if text else "empty"


def code(text: str) -> str:
    """`text` as code, safe in a table."""
    return f"`{text}`"


def listed(names: Iterable[str]) -> str:
    """Names, the one that wins first."""
    return ", ".join(code(name) for name in names)


def tool_flags() -> str:
    """The flags that steer istio-iptables itself."""
    lines = [
        "## Flags that steer istio-iptables",
        "",
        "They say how rules are installed, not what is captured: accepted, and noted.",
        "",
        "| flag | with Beewire |",
        "|---|---|",
    ]
    for tool in TOOL_FLAGS:
        short = f"`-{tool.short}`, " if tool.short else ""
        lines.append(f"| {short}`--{tool.flag}` | {tool.instead} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the page, or compare it."""
    assert {knob.name for knob in KNOBS} >= {
        name
        for name in PodConfig.__dataclass_fields__
        if name not in {"dry_run", "dns_servers_v4", "dns_servers_v6"}
    }
    if sys.argv[1:] == ["--check"]:
        return int(not PAGE.exists() or PAGE.read_text() != page())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
