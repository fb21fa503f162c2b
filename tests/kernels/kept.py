"""What guests told, kept in files: to be put together, when not all run at once."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.kernels.matrix import Run
from tests.kernels.results import Results, Test


def as_json(runs: dict[str, Run]) -> str:
    """All that the guests told."""
    found = {
        name: {
            "release": run.release,
            "seconds": run.seconds,
            "complete": run.results.is_complete,
            "features": run.results.features,
            "tests": [
                {
                    "name": test.name,
                    "outcome": test.outcome,
                    "reason": test.reason,
                    "seconds": test.seconds,
                }
                for test in run.results.tests
            ],
        }
        for name, run in runs.items()
    }
    return json.dumps(found, indent=1) + "\n"


def together(files: Iterable[Path]) -> dict[str, Run]:
    """The runs that files have; of a test that ran in several, what the last one says."""
    runs: dict[str, Run] = {}
    for file in files:
        for kernel, told in json.loads(file.read_text()).items():
            run = _run(kernel, told)
            runs[kernel] = _joined(runs[kernel], run) if kernel in runs else run
    return runs


def _run(kernel: str, told: dict[str, Any]) -> Run:
    tests = [Test(**each) for each in told["tests"]]
    results = Results(tests, told["features"], told["complete"])
    return Run(kernel, told["release"], results, told["seconds"])


def _joined(before: Run, run: Run) -> Run:
    tests = {test.name: test for test in (*before.results.tests, *run.results.tests)}
    is_complete = before.results.is_complete and run.results.is_complete
    results = Results([*tests.values()], run.results.features, is_complete)
    seconds = before.seconds + run.seconds
    return Run(run.kernel, run.release, results, seconds)
