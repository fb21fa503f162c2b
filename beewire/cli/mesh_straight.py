"""Ways past sidecars, as `beewire mesh status` tells them."""

from typing import Any

MOST = 5  # ways, and as many that there are not, that are shown without -v
_INDENT = " " * 14


def straight_lines(told: dict[str, Any] | None, *, verbose: bool) -> list[str]:
    """What a pod says yes to, its ways with what they carry, and what is refused."""
    if told is None or not (told["says_yes"] or told["traffic"]):
        return []
    says = ", ".join(told["says_yes"]) or "nothing any more"
    first = f"  straight    says yes to {says}"
    if told["says_yes"] and not told["holds"]:
        first += "; closed: no agent reads the sidecars"
    return [
        first,
        *_shown(list(dict.fromkeys(map(_refused, told["refused"]))), verbose),
        *_shown(_ways(told), verbose),
    ]


def _shown(lines: list[str], verbose: bool) -> list[str]:  # noqa: FBT001 - as -v
    shown = lines if verbose else lines[:MOST]
    if len(lines) > len(shown):
        shown = [*shown, f"and {len(lines) - len(shown)} more: -v shows them"]
    return [_INDENT + each for each in shown]


def _refused(each: dict[str, Any]) -> str:
    why = "; ".join(
        f"{reason['where']}: {reason['says']}" if reason["where"] else reason["says"]
        for reason in each["reasons"]
    )
    return f"no {_between(each)}{_port(each['port'])}: {why}"


def _ways(told: dict[str, Any]) -> list[str]:
    """By pods and port, whether open or only counted any more."""
    dialled: dict[str, list[str]] = {}
    for each in told["ways"]:
        key = f"{_between(each)}{_port(each['leads_to']['port'])}"
        dialled.setdefault(key, []).append(_place(each["address"], each["port"]))
    carried = {
        f"{_between(each)}{_port(each['port'])}": each for each in told["traffic"]
    }
    lines = []
    keys = dict.fromkeys((*dialled, *carried))
    for key in sorted(keys, key=lambda key: key not in carried):  # what is used, first
        places = f" ({', '.join(dialled[key])})" if key in dialled else " (closed)"
        lines.append(f"{key}{places}: {_carried(carried.get(key))}")
    return lines


def _carried(told: dict[str, Any] | None) -> str:
    if told is None:
        return "nothing yet"
    return (
        f"{told['opened']:,} connections, {told['open']:,} open; {told['sent']:,} bytes"
        f" there, {told['received']:,} back"
    )


def _between(each: dict[str, Any]) -> str:
    return f"{each['kind']} {each['client']} -> {each['server']}"


def _port(port: int | None) -> str:
    return f" port {port}" if port else ""


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
