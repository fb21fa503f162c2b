"""Where a pytest session keeps what happened under each kernel, for its summary."""

import pytest

from tests.kernels.matrix import Run

RUNS = pytest.StashKey[dict[str, Run | str]]()
"""By what the kernel is called in the matrix; a text says why it cannot be had."""
