"""Does the short path ever lose a byte, or keep something that it should have given back?

Two pods with real sidecars, enrolled through `beewire agent`, on a kernel that is judged
first (`beewire mesh qualify`). Every response is compared with what was asked for, byte for
byte, and with the number of its request.

--requests N   (10,000,000 without --minutes) so many over the tiers sidecars, all, shortcut
               and splice, by HTTP and by TCP, bodies of 1 byte to 1 MB:
               TIER.requests, .errors, .mismatched, .bytes, .requests_per_s, and of the
               connections open at the end .on_tier, .short_messages and .tcp_segments
--minutes M    requests and streams on connections of every age, while sidecars restart, tiers
               and configurations change, the short path is switched off and on, and the
               agent is killed: soak.lost, .mismatched, .interrupted (by a restart),
               .leaked entries, and by how much memory grew from the second quarter to the
               last

Ctrl-C ends it with the figures so far; --resume FILE goes on from such figures of --requests.
Exit code 1: a byte was wrong, an answer did not come, or something leaked.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from _report import Figure, counted, machine, missing, show, write

from beewire.errors import BeewireError
from beewire.interrupts import Stopped, unwinding
from beewire.mesh.trial.endurance import (
    TIERS,
    Compared,
    Tier,
    board,
    compare,
    endurance_rig,
    faults,
    give,
    judge,
)
from beewire.mesh.trial.rig import Rig
from beewire.mesh.trial.soak import Soak, Soaked

REQUESTS = 10_000_000
TOLD_S = 10.0
COUNTS = (
    "requests", "connections", "bytes", "errors", "mismatched", "on_tier",
    "short_messages", "tcp_segments",
)  # fmt: skip
SOAKED = (
    "requests", "connections", "streams", "bytes", "stalls", "lost", "mismatched",
    "interrupted",
)  # fmt: skip
UNITS = {"_mb": "MB", "_kb": "KB"}


class Options(NamedTuple):
    """What the command line asked for."""

    json: Path | None
    requests: int
    minutes: float
    tiers: tuple[str, ...]
    resume: Path | None


class Endurance:
    """What was found so far, of every part."""

    def __init__(self, asked: Options) -> None:
        self.asked = asked
        self.compared = before(asked.resume)
        self.why: dict[str, str] = {}
        self.soaked: Soaked | None = None
        self.faults = ""

    def figures(self) -> dict[str, Figure]:
        """All of it."""
        found: dict[str, Figure] = {}
        if self.asked.requests:
            for name in self.asked.tiers:
                found |= compared_figures(name, self.compared, self.why.get(name, ""))
            found |= total_figures(self.compared)
        if self.soaked is not None:
            found |= soaked_figures(self.soaked)
        return found

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong, as far as it went."""
        soaked = self.soaked
        wrong = sum(each.errors + each.mismatched for each in self.compared.values())
        if soaked is not None:
            wrong += soaked.lost + soaked.mismatched + (soaked.leaked or 0)
        return wrong == 0


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv)
    host = machine()
    found = Endurance(asked)
    code = 0
    try:
        with endurance_rig() as rig:
            try:
                run(rig, found)
            finally:
                found.faults = faults(rig)
    except Stopped as stopped:
        code = stopped.exit_code
        print("stopped: these are the figures so far", file=sys.stderr)
    figures = found.figures()
    if figures:
        show(figures)
    print(found.faults, end="", file=sys.stderr)
    if asked.json:
        write(asked.json, "soak", host, 1, figures)
    return code or int(not found.is_good)


def options(argv: Sequence[str]) -> Options:
    """Read the command line."""
    text = __doc__ or ""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--requests", type=int, metavar="N", help="how many in all")
    parser.add_argument("--minutes", type=float, metavar="M", help="soak for so long")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="the same in seconds"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="there is only one")
    parser.add_argument(
        "--tiers", default=",".join(TIERS), help="which (default: %(default)s)"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="figures to go on from"
    )
    given = parser.parse_args(argv)
    minutes = given.minutes or (given.seconds or 0) / 60
    requests = given.requests
    if requests is None:
        requests = 0 if minutes else REQUESTS
    tiers = tuple(given.tiers.split(","))
    for name in tiers:
        if name not in TIERS:
            parser.error(f"--tiers {name}: there are {', '.join(TIERS)}")
    return Options(given.json, requests, minutes, tiers, given.resume)


def before(file: Path | None) -> dict[str, Compared]:
    """What was compared before, by figures that were written then."""
    if file is None:
        return {}
    told = json.loads(file.read_text())["figures"]
    found = {}
    for name in TIERS:
        values = {
            count: told.get(f"{name}.{count}", {}).get("value") or 0 for count in COUNTS
        }
        rate = told.get(f"{name}.requests_per_s", {}).get("value") or 0
        seconds = values["requests"] / rate if rate else 0.0
        if values["requests"]:
            found[name] = Compared(**{k: int(v) for k, v in values.items()})._replace(
                seconds=seconds
            )
    return found


def run(rig: Rig, found: Endurance) -> None:
    """Both parts, as far as they were asked for."""
    print(f"judging this kernel: {judge(rig)}", file=sys.stderr)
    if found.asked.requests:
        run_tiers(rig, found)
    if found.asked.minutes:
        run_soak(rig, found)


def run_tiers(rig: Rig, found: Endurance) -> None:
    """So many requests, over the tiers that can be had."""
    tiers = []
    for name in found.asked.tiers:
        found.why[name] = give(rig, TIERS[name])
        if not found.why[name]:
            tiers.append(TIERS[name])
        else:
            print(f"{name}: {found.why[name]}", file=sys.stderr)
    for number, tier in enumerate(tiers):
        share = found.asked.requests // len(tiers)
        share += found.asked.requests % len(tiers) if number == 0 else 0
        earlier = found.compared.get(tier.name, Compared())
        left = share - earlier.requests
        if left > 0:
            give(rig, tier)
            run_tier(rig, found, tier, earlier, left)


def run_tier(
    rig: Rig, found: Endurance, tier: Tier, earlier: Compared, left: int
) -> None:
    """One tier's share."""
    told_at = 0.0

    def tell(now: Compared) -> None:
        nonlocal told_at
        found.compared[tier.name] = added(earlier, now)
        if time.monotonic() >= told_at:
            told_at = time.monotonic() + TOLD_S
            print(
                f"{tier.name}: {now.requests:,} of {left:,} requests,"
                f" {now.errors} errors, {now.mismatched} mismatches",
                file=sys.stderr,
                flush=True,
            )

    tell(compare(rig, tier, left, tell))


def added(one: Compared, other: Compared) -> Compared:
    """Both together; of connections that are open, those of the later one."""
    return Compared(*(a + b for a, b in zip(one, other, strict=True)))


def run_soak(rig: Rig, found: Endurance) -> None:
    """Half an hour of everything, or as long as it was asked for."""
    told_at = 0.0
    with board() as counts:
        soak = Soak(rig, counts)

        def tell(passed: float, changes: Mapping[str, int]) -> None:
            nonlocal told_at
            found.soaked = soak.found()
            if time.monotonic() >= told_at:
                told_at = time.monotonic() + TOLD_S
                now = found.soaked
                print(
                    f"soak: {passed:.0f} s, {now.requests:,} requests,"
                    f" {now.streams:,} streams, {sum(changes.values())} changes,"
                    f" {now.lost} lost, {now.mismatched} mismatches",
                    file=sys.stderr,
                    flush=True,
                )

        try:
            soak.run(found.asked.minutes * 60, tell)
        finally:
            found.soaked = soak.found()


def compared_figures(
    name: str, compared: Mapping[str, Compared], why: str
) -> dict[str, Figure]:
    """Of one tier."""
    each = compared.get(name)
    units = {count: "B" if count == "bytes" else "count" for count in COUNTS}
    units["requests_per_s"] = "requests/s"
    if each is None:
        reason = why or "it was stopped before"
        return {
            f"{name}.{count}": missing(unit, reason) for count, unit in units.items()
        }
    found = {
        f"{name}.{count}": Figure(getattr(each, count), units[count])
        for count in COUNTS
    }
    rate = each.requests / each.seconds if each.seconds else None
    found[f"{name}.requests_per_s"] = Figure(
        rate, units["requests_per_s"], reason="" if rate else "no time was measured"
    )
    return found


def total_figures(compared: Mapping[str, Compared]) -> dict[str, Figure]:
    """Of all tiers together."""
    return {
        f"total.{count}": counted(
            sum(getattr(each, count) for each in compared.values())
        )
        for count in ("requests", "errors", "mismatched")
    }


def soaked_figures(soaked: Soaked) -> dict[str, Figure]:
    """Of the soak."""
    found = {f"soak.{name}": counted(getattr(soaked, name)) for name in SOAKED}
    found["soak.seconds"] = Figure(round(soaked.seconds, 1), "s")
    if soaked.leaked is None:
        found["soak.leaked"] = missing("count", "it was stopped before all had ended")
    else:
        found["soak.leaked"] = counted(soaked.leaked)
    for name, times in soaked.changes.items():
        found[f"soak.{name}"] = counted(times)
    for name, grown in soaked.growth.items():
        stem, unit = name, "count"
        for suffix, known in UNITS.items():
            if name.endswith(suffix):
                stem, unit = name.removesuffix(suffix), known
        found[f"soak.{stem}_growth"] = Figure(round(grown, 3), unit)
    return found


if __name__ == "__main__":
    try:
        with unwinding():
            sys.exit(main(sys.argv[1:]))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except BeewireError as error:
        sys.exit(f"soak: {error}")
