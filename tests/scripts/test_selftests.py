"""scripts/selftests.py, on objects of our own: nothing is fetched for it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.bpf.object.compilers import built

SCRIPT = Path(__file__).parents[2] / "scripts/selftests.py"

pytestmark = pytest.mark.kernel


@pytest.fixture
def script() -> ModuleType:
    found = importlib.util.spec_from_file_location("bw_selftests", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_verdicts_of_both_loaders_are_counted(
    script: ModuleType, tmp_path: Path
) -> None:
    # libbpf takes no maps of before BTF, and nobody takes a section that is no hook.
    names = ("calls", "legacy", "sections")
    for name in names:
        (tmp_path / f"{name}.o").write_bytes(built("clang-19")[name])
    try:
        library = script.Libbpf(Path("libbpf.so.1"))
    except OSError:
        pytest.skip("libbpf1 is not installed")

    rows = script.compare(sorted(tmp_path.glob("*.o")), library, each_program=True)

    assert script.tally(list(rows.values())) == {
        "of": 3,
        "loaded by us": 2,
        "loaded by libbpf": 1,
        "by both": 1,
        "by libbpf only": 0,
        "by us only": 1,
    }
    assert rows["sections"]["ours"][0] == "SpecError"
    assert rows["sections"]["programs"]["plain"]["ours"] == ["", ""]
    assert set(rows["calls"]["programs"]) == {"first", "second", "third"}
