"""The kernel's tests under five kernels, in guests: `make test-kernels`, as tests.

All guests that are wanted run before the first of these tests ends, as many at once as
there are processors. The table is in the summary.
"""

import pytest

from beewire.errors import GuestError
from beewire.guest import MATRIX
from tests.guest.needs import kernel_release
from tests.kernels.matrix import Run, run_all, usual_jobs
from tests.kernels.outcome import RUNS

pytestmark = [pytest.mark.guests, pytest.mark.timeout(7200)]


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> dict[str, Run | str]:
    """What happened under each wanted kernel, or why it cannot be had."""
    wanted = [
        str(item.callspec.params["kernel"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == "test_the_kernel_passes"
    ]
    found: dict[str, Run | str] = {}
    releases = {}
    for kernel in wanted:
        try:
            releases[kernel] = kernel_release(kernel)
        except pytest.skip.Exception as missing:
            found[kernel] = str(missing)
        except GuestError as error:
            found[kernel] = str(error)
    found |= run_all(releases, jobs=usual_jobs(), tell=lambda _: None)
    request.config.stash[RUNS] = found
    return found


@pytest.mark.parametrize("kernel", MATRIX)
def test_the_kernel_passes(kernel: str, runs: dict[str, Run | str]) -> None:
    run = runs[kernel]
    if isinstance(run, str):
        pytest.skip(run)

    assert "\n".join(run.faults()) == ""
