"""The examples of docs/reference/maps.md run, and print what the page says."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from beewire.bpf.object import MapKind
from beewire.errors import NotSupported

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "maps.md"
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^#+ (.+)$", re.MULTILINE)
PRINTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)

TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = [
    pytest.param(found[1], id=SECTION.findall(TEXT[: found.start()])[-1])
    for found in FENCE.finditer(TEXT)
    if "def main()" in found[1]
]


@pytest.mark.parametrize("source", EXAMPLES)
def test_an_example_prints_what_the_page_says(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numpy")
    path = tmp_path / "example.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("map_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["map_example"] = module  # structs look their annotations up there
    try:
        spec.loader.exec_module(module)
        module.main()
    except NotSupported as error:
        pytest.skip(str(error))
    finally:
        del sys.modules["map_example"]

    assert capsys.readouterr().out.splitlines() == PRINTED.findall(source)


def test_every_kind_has_a_section() -> None:
    told = set(re.findall(r"`BPF_MAP_TYPE_(\w+)`", TEXT))

    assert {kind.name for kind in MapKind} - told == {"UNSPEC"}
