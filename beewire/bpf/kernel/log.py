"""Reading the verifier's log: where it stopped, what it said, what it knew."""

import re
from typing import NamedTuple

_INSN = re.compile(r"^(\d+): \(")
_STATE = re.compile(r"^(?:from )?(\d+)(?: to (\d+)(?: \(speculative execution\))?)?: R")
_REGISTER = re.compile(r"\bR(10|\d)(?:_w|_r|_rw)?=")
# Lines that tell how the verifier went on, not why it stopped.
_NOISE = re.compile(
    r"^(;|func#|processed \d|verification time|stack depth|mark_precise|insn_idx|"
    r"Live regs|propagating|cur state|old state|parent |last_idx|regs=|Func#|"
    r"Validating|caller|callee|frame\d|peak_states|CO-RE relocating|prog '|\s*$)"
)
_AT = re.compile(r"(?:at insn|alloc_insn=|from insn|unreachable insn|insn) ?(\d+)")


class Reading(NamedTuple):
    """What a log says: slot (-1: none), the reason, more lines of it, the registers.

    `registers` holds the last state seen of each, as the kernel writes it.
    """

    insn: int
    reason: str
    details: tuple[str, ...]
    registers: dict[int, str]


def read_log(log: str) -> Reading:
    """The end of a log, by what is known of its format.

    Since Linux 7.3 (ce7c9f6c599b) a report in prose follows the old lines; its reason
    and suggestion go to the details.
    """
    steps, _, report = log.partition("\nVerification failed: ")
    insn, reasons, registers = -1, list[str](), dict[int, str]()
    for line in steps.split("\n"):
        state, step = _STATE.match(line), _INSN.match(line)
        if state or step:
            reasons.clear()
            insn = int(step[1]) if step else insn
            if state and state[2]:
                registers.clear()
            registers.update(_registers(line))
        elif not _NOISE.match(line):
            reasons.append(line.strip())
    if report and not reasons:
        reasons.append(report.partition("\n")[0])
    reasons += _prose(report)
    reason = reasons[0] if reasons else ""
    at = _AT.search(reason)
    if at:
        insn = int(at[1])
    return Reading(insn, reason, tuple(reasons[1:]), registers)


def _prose(report: str) -> list[str]:
    """The reason and the suggestion of a report, each in one line."""
    found = []
    for paragraph in report.split("\n\n"):
        title, _, text = paragraph.strip().partition(":\n")
        if title in {"Reason", "Suggestion"}:
            found.append(f"{title.lower()}: {' '.join(text.split())}")
    return found


def _registers(line: str) -> dict[int, str]:
    """The `Rn=...` parts of a line; a value ends at the first space outside brackets."""
    # Of an instruction's own text ("r1 = r2 ; R1_w=...") only the state counts.
    found = {}
    for match in _REGISTER.finditer(line):
        depth, end = 0, match.end()
        while end < len(line) and (depth or line[end] != " "):
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            end += 1
        found[int(match[1])] = line[match.end() : end]
    return found


def in_words(state: str) -> str:
    """A register's state, such as `map_value_or_null(id=1,map=hits,...)`, in words."""
    kind, _, rest = state.partition("(")
    facts = dict(
        part.partition("=")[::2] for part in rest.rstrip(")").split(",") if "=" in part
    )
    name = kind.removesuffix("_or_null")
    maybe = ", or None" if kind.endswith("_or_null") else ""
    words = _WORDS.get(name)
    if words is not None:
        return words.format(map=facts.get("map", "?"), **_numbers(facts)) + maybe
    if name == "scalar":
        return _scalar(facts)
    if name.startswith("fp"):
        return "the stack" + (f" at {name[2:]}" if name[2:] not in {"", "0"} else "")
    if name.lstrip("-").isdigit() or name.startswith("0x"):
        return f"the number {name}"
    pointed = name.removeprefix("trusted_").removeprefix("rcu_").removeprefix("ptr_")
    return (f"a pointer to {pointed}" if name != pointed else state) + maybe


_WORDS = {
    "ctx": "the context",
    "map_value": "a value of map {map!r} ({vs} bytes)",
    "map_ptr": "map {map!r}",
    "map_key": "a key of map {map!r}",
    "pkt": "the packet at byte {off}, of which {r} bytes are checked",
    "pkt_end": "the end of the packet",
    "pkt_meta": "the packet's metadata",
    "sock": "a socket",
    "tcp_sock": "a TCP socket",
    "sock_common": "a socket",
    "ringbuf_mem": "a reserved ring buffer record",
    "mem": "memory of {sz} bytes",
}


def _numbers(facts: dict[str, str]) -> dict[str, str]:
    return {name: facts.get(name, "0") for name in ("vs", "off", "r", "sz")}


def _scalar(facts: dict[str, str]) -> str:
    # Ranges read "smin=smin32=0,umax=255": one value may follow several names.
    low = facts.get("smin", facts.get("umin", ""))
    high = facts.get("umax", facts.get("smax", ""))
    low, high = low.rpartition("=")[2], high.rpartition("=")[2]
    if not low and not high:
        return "any number"
    return f"a number from {low or '0'} to {high or 'anything'}"
