"""Reading the verifier's log: where it stopped, what it said, what it knew."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_INSN = re.compile(r"^(\d+): \(")
_STATE = re.compile(r"^(?:from )?(\d+)(?: to (\d+)(?: \(speculative execution\))?)?: R")
# Linux 5.10 shows the registers in a line of their own.
_BARE_STATE = re.compile(r"^ ?R\d+(?:_[rw]+)?=")
_REGISTER = re.compile(r"\bR(10|\d)(?:_w|_r|_rw)?=")
# Lines that tell how the verifier went on, not why it stopped.
_NOISE = re.compile(
    r"^(;|func#|processed \d|verification time|stack depth|mark_precise|insn_idx|"
    r"Live regs|propagating|cur state|old state|parent |last_idx|regs=|Func#|"
    r"Validating|caller|callee|frame\d|peak_states|CO-RE relocating|prog '|\s*$)"
)
_CONTEXT = re.compile(r"arg#0 reference type\('FWD .* size cannot be determined")
# Of a report: `  function @ file.py:12:5`, and a line of source in it.
_PLACE = re.compile(r"^  \S+ @ .+?:(?=\d+:\d+$)", re.MULTILINE)
_SOURCE = re.compile(r"^\s*(?:>>> )?\s*\d+ \|")
_AT = re.compile(r"(?:at insn|alloc_insn=|from insn|unreachable insn|insn) ?(\d+)")


# What a refusal is explained by: ten thousand lines, a second of reading.
_ENDING = 1 << 20


class Reading(NamedTuple):
    """What a log says: slot (-1: none), the reason, more lines of it, the registers.

    `registers` holds the last state seen of each, as the kernel writes it. `causes` are
    the kernel's own account of how it came to that, since Linux 7.3.
    """

    insn: int
    reason: str
    details: tuple[str, ...]
    registers: dict[int, str]
    causes: tuple[str, ...] = ()


def ending(log: str) -> str:
    """The end of a long log, from the start of a line; the rest is no part of why."""
    return log if len(log) <= _ENDING else log[-_ENDING:].partition("\n")[2]


def read_log(log: str) -> Reading:
    """The end of a log, by what is known of its format.

    Since Linux 7.3 (ce7c9f6c599b) a report in prose follows the old lines; its reason
    and suggestion go to the details.
    """
    steps, _, report = log.partition("\nVerification failed: ")
    insn, reasons, registers_ = -1, list[str](), dict[int, str]()
    for line in steps.split("\n"):
        state, step = _STATE.match(line), _INSN.match(line)
        if _BARE_STATE.match(line):
            registers_.update(registers(line))
        elif state or step:
            reasons.clear()
            insn = int(step[1]) if step else insn
            if state and state[2]:
                registers_.clear()
            registers_.update(registers(line))
        elif not _NOISE.match(line):
            reasons.append(line.strip())
    if report and not reasons:
        reasons.append(report.partition("\n")[0])
    # Said of the context of a program with BTF, and no reason to stop there.
    reasons = [each for each in reasons if not _CONTEXT.match(each)] or reasons
    reasons += _prose(report)
    reason = reasons[0] if reasons else ""
    at = _AT.search(reason)
    if at:
        insn = int(at[1])
    return Reading(insn, reason, tuple(reasons[1:]), registers_, tuple(_causes(report)))


def _prose(report: str) -> list[str]:
    """The reason and the suggestion of a report, each in one line."""
    found = []
    for paragraph in report.split("\n\n"):
        title, _, text = paragraph.strip().partition(":\n")
        if title in {"Reason", "Suggestion"}:
            found.append(f"{title.lower()}: {' '.join(text.split())}")
    return found


def _causes(report: str) -> Iterator[str]:
    """What happened on the way, each with its line; each once."""
    _, _, path = report.partition("\nCausal path:\n")
    path, _, _ = path.partition("\nSuggestion:\n")
    told: set[str] = set()
    for place in _PLACE.split(path)[1:]:
        line, _, context = place.partition("\n")
        _, found, text = context.partition("^-- ")
        text, _, _ = text.partition("\n  Instruction context:")
        words = " ".join(
            part.strip() for part in text.split("\n") if not _SOURCE.match(part)
        )
        words = " ".join(words.replace("|", " ").split())
        if found and (cause := f"line {line.rpartition(':')[0]}: {words}") not in told:
            told.add(cause)
            yield cause


def registers(line: str) -> dict[int, str]:
    """The `Rn=...` parts of a line, by register; a value ends at the first space outside brackets."""
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
    # Before Linux 5.18 a scalar is "inv", its bounds "umax_value", and a map has no name.
    facts = {
        name.removesuffix("_value"): value
        for name, _, value in (
            part.partition("=") for part in rest.rstrip(")").split(",")
        )
        if value
    }
    name = _OLD_SCALAR.sub("", kind.removesuffix("_or_null")) or "scalar"
    maybe = ", or None" if kind.endswith("_or_null") else ""
    words = _WORDS.get(name)
    if words is not None:
        map_name = f"map {facts['map']!r}" if "map" in facts else "a map"
        size = f" of {facts['sz']} bytes" if "sz" in facts else ""
        told = words.format(map=map_name, size=size, **_numbers(facts))
        return told + (_reach(facts) if name == "map_value" else "") + maybe
    if name == "scalar":
        return _scalar(facts)
    if name.startswith("fp"):
        return "the stack" + (f" at {name[2:]}" if name[2:] not in {"", "0"} else "")
    if name.lstrip("-").isdigit() or name.startswith("0x"):
        return f"the number {name}"
    pointed = name.removeprefix("trusted_").removeprefix("rcu_").removeprefix("ptr_")
    return (f"a pointer to {pointed}" if name != pointed else state) + maybe


_OLD_SCALAR = re.compile(r"^invP?(?=-?\d|$)")
_WORDS = {
    "ctx": "the context",
    "map_value": "a value of {map} ({vs} bytes)",
    "map_ptr": "{map}",
    "map_key": "a key of {map}",
    "pkt": "the packet at byte {off}, of which {r} bytes are checked",
    "pkt_end": "the end of the packet",
    "pkt_meta": "the packet's metadata",
    "sock": "a socket",
    "tcp_sock": "a TCP socket",
    "sock_common": "a socket",
    "ringbuf_mem": "a reserved ring buffer record",
    "mem": "memory{size}",
}


def _reach(facts: dict[str, str]) -> str:
    """How far into a map value a pointer may point."""
    fixed = facts.get("off", facts.get("imm", "0"))
    high = facts.get("umax", facts.get("smax", "")).rpartition("=")[2]
    if not high:
        return f" at byte {fixed}" if fixed != "0" else ""
    low = facts.get("smin", facts.get("umin", "0")).rpartition("=")[2]
    start = f"{fixed} + " if fixed != "0" else ""
    return f" at byte {start}{low} to {high}"


def _numbers(facts: dict[str, str]) -> dict[str, str]:
    return {name: facts.get(name, "0") for name in ("vs", "off", "r")}


def _scalar(facts: dict[str, str]) -> str:
    # Ranges read "smin=smin32=0,umax=255": one value may follow several names.
    low = facts.get("smin", facts.get("umin", ""))
    high = facts.get("umax", facts.get("smax", ""))
    low, high = low.rpartition("=")[2], high.rpartition("=")[2]
    if not low and not high:
        return "any number"
    return f"a number from {low or '0'} to {high or 'anything'}"
