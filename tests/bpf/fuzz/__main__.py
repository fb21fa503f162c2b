"""`make fuzz`: the differential fuzzer from a terminal."""

import argparse
import platform
import sys
import time
from pathlib import Path

from tests.bpf.fuzz import campaign, report
from tests.bpf.fuzz.program import source
from tests.bpf.fuzz.shrink import shrink
from tests.bpf.fuzz.trial import on_one_cpu, try_


def main() -> int:
    """Run what the arguments ask for; 0 when all is well."""
    options = _options()
    if options.only is not None:
        return _one(options.only)
    return _many(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bpf.fuzz", description=__doc__
    )
    parser.add_argument("--programs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", type=int, metavar="SEED", help="this program alone")
    parser.add_argument("--no-llvm", action="store_true", help="leave LLVM out")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the report there"
    )
    return parser.parse_args()


def _one(seed: int) -> int:
    made = source(seed)
    with on_one_cpu():
        outcome = try_(made)
    print(made.text)
    print(f"# {outcome}")
    return int(bool(outcome.fault))


def _many(options: argparse.Namespace) -> int:
    with_llvm = not options.no_llvm
    totals = campaign.Totals()
    last, shown = time.monotonic(), 0
    for totals in campaign.run(
        options.programs, options.seed, jobs=options.jobs, llvm_every=int(with_llvm)
    ):
        for fault in totals.faults[shown:]:
            shown += 1
            told = f"{fault.outcome.fault}: {fault.outcome.detail.splitlines()[0]}"
            print(f"seed {fault.seed}: {told}", file=sys.stderr)
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(
                f"{totals.programs} programs, {len(totals.faults)} faults, "
                f"{totals.seconds:.0f} s",
                file=sys.stderr,
            )
    print(report.text(totals))
    for fault in totals.faults[:5]:
        with on_one_cpu():
            smaller = shrink(source(fault.seed), fault.outcome)
        print(f"\nseed {fault.seed}: {fault.outcome.fault}: {fault.outcome.detail}")
        print(f"again by: python -m tests.bpf.fuzz --only {fault.seed}\n{smaller.text}")
    wrong = report.verdict(totals, with_llvm=with_llvm)
    for sentence in wrong:
        print(f"not as it should be: {sentence}")
    if options.write is not None:
        kernel = platform.release().partition("-")[0]
        machine = f"Linux {kernel}, {platform.machine()}"
        report.write(totals, machine, options.write)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
