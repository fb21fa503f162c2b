"""The examples in README and docs/: each whole one is imported, and its programs compiled."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from beewire.bpf import author
from beewire.bpf.lang import ProgramDecl
from beewire.cli.commands import COMMANDS
from beewire.cli.mesh import COMMANDS as MESH_COMMANDS

Run = Callable[..., subprocess.CompletedProcess[str]]

CHECKOUT = Path(__file__).parent.parent
TABLE_ROW = re.compile(r"^\| (`.*?) \| ", re.MULTILINE)
DOCS = CHECKOUT / "docs"
PAGES = [
    CHECKOUT / "README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((DOCS / "mesh").glob("*.md")),
    *sorted((DOCS / "reference").glob("**/*.md")),
]


def named(page: Path) -> str:
    """A page as it is told in this test's output."""
    return page.relative_to(CHECKOUT).with_suffix("").as_posix()


EXAMPLES = [
    pytest.param(block, id=f"{named(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    )
]
WHOLE = [
    example
    for example in EXAMPLES
    if "from beewire" in str(example.values[0])
    and "my_programs" not in str(example.values[0])
]


@pytest.mark.parametrize("block", EXAMPLES)
def test_every_example_is_python(block: str) -> None:
    assert ast.parse(block).body


@pytest.mark.parametrize("block", WHOLE)
def test_every_whole_example_compiles(block: str, tmp_path: Path) -> None:
    for path in re.findall(r'@usdt\("([^:]+):', block):
        if not Path(path).exists():
            pytest.skip(f"this machine has no {path}")
    module = imported(block, tmp_path / "example.py")

    programs = [
        value for value in vars(module).values() if isinstance(value, ProgramDecl)
    ]
    spec = author.collect(programs) if programs else None

    compiled = spec.programs.values() if spec else ()
    assert len([p for p in compiled if p.section != ".text"]) == len(programs)


def imported(source: str, path: Path) -> ModuleType:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # structs look their annotations up there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module


def test_the_index_lists_every_page() -> None:
    index = (CHECKOUT / "docs" / "index.md").read_text()
    table = re.findall(r"^\| \[\]\((.+)\.md\) \| .+ \|$", index, re.MULTILINE)
    tree = index.partition(":hidden:\n")[2].partition("```")[0].split()
    names = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES[1:]}
    pages = names - {"index"} | {"errors/index"}

    assert set(table) == pages
    assert set(tree) == pages


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    known = {command.name for command in COMMANDS}
    shown = set(
        re.findall(r"^(?:\$ |    )beewire ([a-z]+)", page.read_text(), re.MULTILINE)
    )

    assert shown <= known


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_of_the_mesh_that_a_page_shows_exists(page: Path) -> None:
    known = {command.name for command in MESH_COMMANDS}
    shown = set(
        re.findall(
            r"^(?:\$ |    )beewire mesh ([a-z][a-z-]*)", page.read_text(), re.MULTILINE
        )
    )

    assert shown <= known


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([\w./-]+)\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.fixture(scope="session")
def sentences() -> str:
    """Every text in Beewire's source, and the script that sets it up."""
    trees = (ast.parse(path.read_bytes()) for path in CHECKOUT.glob("beewire/**/*.py"))
    texts = [
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join([*texts, (CHECKOUT / "scripts" / "bootstrap").read_text()])


def test_every_message_that_the_documentation_explains_exists(sentences: str) -> None:
    page = (CHECKOUT / "docs" / "troubleshooting.md").read_text()
    messages = [
        message
        for row in TABLE_ROW.findall(page)
        for message in re.findall(r"`([^`]+)`", row)
    ]
    pieces = [piece.strip() for message in messages for piece in message.split("…")]

    assert len(messages) > 50
    assert [piece for piece in pieces if piece not in sentences] == []


def test_every_public_name_of_the_toolkit_is_documented() -> None:
    told = "\n".join(page.read_text() for page in PAGES)

    missing = [name for name in author.__all__ if not re.search(rf"\b{name}\b", told)]
    assert missing == []
