"""The table of kernels, below the results of the tests that ran under them."""

import pytest

from tests.kernels.matrix import Run
from tests.kernels.outcome import RUNS
from tests.kernels.table import as_text, table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and which listed skips did not happen."""
    found = terminalreporter.config.stash.get(RUNS, {})
    runs = {name: run for name, run in found.items() if isinstance(run, Run)}
    if not runs:
        return
    terminalreporter.section("kernels")
    for run in runs.values():
        terminalreporter.write_line(run.summary())
    terminalreporter.write_line(as_text(table(runs)))
    for run in runs.values():
        for test, reason in run.difference().not_skipped:
            terminalreporter.write_line(f"{run.kernel}: {test} did not skip: {reason}")
