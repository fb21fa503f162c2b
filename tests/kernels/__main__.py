"""`make test-kernels`: the kernel's tests under five kernels, and a table of them.

Kernels are downloaded when they are not there yet. Ends with 0 if every test passed, or
was skipped as the kernel's list says.
"""

import argparse
import sys
from pathlib import Path

from beewire.errors import BeewireError
from beewire.guest import MATRIX, obtain
from beewire.interrupts import Stopped, unwinding
from tests.kernels import expected
from tests.kernels.kept import as_json, together
from tests.kernels.matrix import Run, run_all, usual_jobs
from tests.kernels.page import rewrite
from tests.kernels.table import as_markdown, as_text, table


def main() -> int:
    """Run it, and return the exit code."""
    args, pytest_arguments = parser().parse_known_args()
    try:
        if args.kept:
            runs = together(args.kept)
        else:
            with unwinding():
                runs = boot(args, pytest_arguments)
    except Stopped as stopped:
        return stopped.exit_code
    except BeewireError as error:
        tell(f"no guests: {error}")
        return 1
    print(as_text(table(runs)))
    if args.write:
        rewrite(args.write, as_markdown(table(runs)))
    if args.json:
        args.json.write_text(as_json(runs))
    if args.rewrite:
        for name, run in runs.items():
            expected.write(expected.path(name), name, run.skips())
    return tell_faults(runs)


def boot(args: argparse.Namespace, arguments: list[str]) -> dict[str, Run]:
    """Run the tests under the kernels that are wanted."""
    if args.log:
        args.log.mkdir(parents=True, exist_ok=True)
    kernels = args.kernel or list(MATRIX)
    releases = {name: obtain(name, tell).release for name in kernels}
    return run_all(
        releases,
        jobs=args.jobs,
        tell=tell,
        arguments=arguments,
        thorough=args.all,
        log=args.log,
    )


def parser() -> argparse.ArgumentParser:
    """The command line; what it does not know is pytest's."""
    made = argparse.ArgumentParser(
        prog="make test-kernels", description=__doc__, allow_abbrev=False
    )
    made.add_argument(
        "--kernel",
        action="append",
        metavar="NAME",
        help=f"only this one; may be repeated (default: {', '.join(MATRIX)})",
    )
    made.add_argument(
        "--all",
        action="store_true",
        help="all tests of the kernel, a quarter of an hour each",
    )
    made.add_argument("--jobs", type=int, default=usual_jobs(), metavar="N")
    made.add_argument(
        "--rewrite", action="store_true", help="write the lists of expected skips"
    )
    made.add_argument("--write", type=Path, metavar="FILE", help="put the table there")
    made.add_argument(
        "--log", type=Path, metavar="DIR", help="put what each guest prints there"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="every result")
    made.add_argument(
        "--kept",
        type=Path,
        action="append",
        metavar="FILE",
        help="what --json wrote, instead of guests; may be repeated, the last one counts",
    )
    return made


def tell(text: str) -> None:
    """Say what is going on."""
    print(text, file=sys.stderr, flush=True)


def tell_faults(runs: dict[str, Run]) -> int:
    """Say what is wrong, and give the exit code."""
    for run in runs.values():
        for test, reason in run.difference().not_skipped:
            tell(f"{run.kernel}: {test} is no longer skipped ({reason})")
        for fault in run.faults():
            tell(f"{run.kernel}: {fault}")
    faulty = [run.kernel for run in runs.values() if run.faults()]
    if faulty:
        tell(f"not as expected: {', '.join(faulty)}; skips: {expected.REWRITE}")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
