"""`Explanation`: everything that is known of one connection's way; its text and its JSON."""

from typing import Any, NamedTuple

WIDE = 12


class Step(NamedTuple):
    """One hook on the way.

    `hook` is the kernel's name, `program` ours, `place` the cgroup or namespace. `before`
    and `after` are the address that the connection went to, where the hook changes it.
    """

    hook: str
    program: str
    place: str
    did: str
    before: str = ""
    after: str = ""


class Explanation(NamedTuple):
    """Why a connection goes where it goes.

    `live` says that all of it was read from the socket and the kernel; otherwise it was
    decided from the configuration. `rule` is the name of the Rule that decided, `because`
    its sentence, `origin` who put it there, "" where it always holds. `counts` are the
    pod's counters: of the rule that decided, and what else belongs to it.
    """

    pod: str
    connection: str
    live: bool
    action: str
    outcome: str
    rule: str
    number: int
    because: str
    matched: str
    origin: str
    steps: tuple[Step, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it, for json.dumps."""
        return {**self._asdict(), "steps": [step._asdict() for step in self.steps]}

    def text(self) -> str:
        """All of it, for people."""
        kind = "as the programs kept it" if self.live else "as it would be decided"
        lines = [f"{self.connection}, pod {self.pod}, {kind}", ""]
        lines.append(_line("goes", self.outcome))
        matched = f" ({self.matched})" if self.matched else ""
        lines.append(_line("because", f"{self.because}{matched}"))
        if self.number:
            lines.append(_line("rule", f"{self.rule} (number {self.number})"))
            lines.append(_line("set by", self.origin or "nobody: it always holds"))
        lines += [
            _line("counted" if not at else "", f"{name}: {n:,}")
            for at, (name, n) in enumerate(self.counts.items())
        ]
        lines += ["", "hooks on its way:"]
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number:>2}. {step.hook}, program {step.program}")
            lines.append(f"    on {step.place}")
            lines.append(f"    {step.did}")
            if step.after:
                lines.append(f"    {step.before} -> {step.after}")
        if not self.steps:
            lines.append("    none")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def _line(word: str, rest: str) -> str:
    return f"  {word:<{WIDE}}{rest}"
