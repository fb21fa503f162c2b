"""A pytest plugin for guests: what became of each test, as lines on standard output.

A guest keeps no file, so its results leave it as text: JSON behind a prefix, between
whatever else is printed. What the kernel's probes answer goes the same way.
"""

import json
import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

from beewire.bpf import features
from tests.kernels.lacking import lacking
from tests.kernels.results import PREFIX

# pytest is about to capture descriptor 1; this module is imported before that.
_STDOUT = os.dup(1)
_spent: dict[str, float] = {}  # seconds of a test, its fixtures included

# Without KVM a guest is twenty times as slow as what the limits were made for.
hypothesis.settings.register_profile(
    "guest",
    deadline=None,
    max_examples=20,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def pytest_sessionstart() -> None:
    """Tell what this kernel can do."""
    hypothesis.settings.load_profile("guest")  # after the one of tests/conftest.py
    found = {each.name: each.available for each in features.all_features()}
    _tell({"features": found})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take a test that met what this kernel has not for skipped: its list knows it."""
    report = yield
    if report.failed and call.excinfo and (reason := lacking(call.excinfo.value)):
        path, line, _ = item.location
        report.outcome = "skipped"
        report.longrepr = (path, line or 0, f"Skipped: {reason}")
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell of every test once, and of what goes wrong around it."""
    _spent[report.nodeid] = _spent.get(report.nodeid, 0.0) + report.duration
    if report.when == "call" or report.outcome != "passed":
        _tell_report(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell of what cannot be collected, or is skipped as a whole."""
    if report.outcome != "passed":
        _tell_report(report)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Tell that nothing follows."""
    _tell({"end": int(exitstatus)})


def _tell_report(report: pytest.TestReport | pytest.CollectReport) -> None:
    _tell(
        {
            "test": report.nodeid,
            "outcome": report.outcome,
            "reason": _reason(report),
            "seconds": round(_spent.get(report.nodeid, 0.0), 3),
        }
    )


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext if report.outcome == "failed" else ""


def _tell(record: dict[str, Any]) -> None:
    # What a test printed may have left a line unfinished.
    os.write(_STDOUT, f"\n{PREFIX}{json.dumps(record)}\n".encode())
