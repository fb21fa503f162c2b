"""The examples of docs/reference/events.md do what they say."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from beewire.bpf import features
from beewire.bpf.object import MapKind

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "events.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
)
RUN = [
    block for block in BLOCKS if "def main" in block and "from my_programs" not in block
]
SAYS = {
    "Started": r"\d+ true\n$",
    "Call": r"^\[\(\d+, 0, \d+\), .*\n\d+\n0 Counts\(read=5, ",
    "Sample": r"^\[\(64,\)\]\n$",
    "Command": r"^10\n50\n$",
}


@pytest.mark.parametrize("block", RUN, ids=SAYS)
def test_an_example_prints_what_it_says(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "UserRingBuf" in block and not features.map_type(MapKind.USER_RINGBUF):
        pytest.skip("this kernel has no USER_RINGBUF maps")
    path = tmp_path / "events_example.py"
    path.write_text(block)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    try:
        module.main()
    finally:
        del sys.modules[path.stem]

    [name] = re.findall(r"class (\w+)\(Struct\)", block)[:1]
    assert re.search(SAYS[name], capsys.readouterr().out)
