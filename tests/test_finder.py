"""The package's modules are found as Python would find them, only sooner."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

import beewire
from beewire.finder import Finder

PACKAGE = Path(beewire.__file__).parent
FACTS = ("name", "origin", "cached", "submodule_search_locations", "has_location")


def names() -> list[str]:
    """Every module of the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    parts = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    return [".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts]


def test_what_it_finds_is_what_python_finds() -> None:
    finder = Finder(str(PACKAGE))
    for name in names():
        if name == "beewire":
            continue
        parent = importlib.util.find_spec(name.rpartition(".")[0])
        assert parent is not None
        usual = PathFinder.find_spec(name, parent.submodule_search_locations)
        found = finder.find_spec(name)
        assert found is not None
        assert usual is not None
        assert [getattr(found, f) for f in FACTS] == [getattr(usual, f) for f in FACTS]


def test_other_names_are_left_to_others() -> None:
    finder = Finder(str(PACKAGE))

    assert finder.find_spec("json") is None
    assert finder.find_spec("beewire.no_such_module") is None


def run(directory: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={
            **os.environ,
            "PYTHONPATH": str(directory),
            "PYTHONDONTWRITEBYTECODE": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr


def copied(directory: Path) -> Path:
    """A package called beewire with a finder and one module."""
    package = directory / "beewire"
    package.mkdir()
    for name in ("__init__.py", "finder.py"):
        (package / name).write_text((PACKAGE / name).read_text())
    (package / "thing.py").write_text("VALUE = 1\n")
    return package


def test_a_changed_source_is_compiled_again(tmp_path: Path) -> None:
    package = copied(tmp_path)
    code = "from beewire.thing import VALUE; print(VALUE)"
    assert run(tmp_path, code) == "1"

    (package / "thing.py").write_text("VALUE = 22\n")

    assert run(tmp_path, code) == "22"


def test_bytecode_of_another_kind_is_pythons_affair(tmp_path: Path) -> None:
    package = copied(tmp_path)
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode"]
    subprocess.run([*command, "checked-hash", package], check=True)

    assert run(tmp_path, "from beewire.thing import VALUE; print(VALUE)") == "1"


def test_damaged_bytecode_is_replaced(tmp_path: Path) -> None:
    package = copied(tmp_path)
    code = "from beewire.thing import VALUE; print(VALUE)"
    assert run(tmp_path, code) == "1"
    [cached] = (package / "__pycache__").glob("thing.*.pyc")

    cached.write_bytes(b"")

    assert run(tmp_path, code) == "1"


def test_in_a_zip_file_python_finds_the_modules(tmp_path: Path) -> None:
    package = copied(tmp_path)
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for source in package.glob("*.py"):
            file.write(source, f"beewire/{source.name}")

    code = (
        "import sys; from beewire.thing import VALUE; from beewire.finder import Finder;"
        "print(VALUE, any(isinstance(f, Finder) for f in sys.meta_path))"
    )

    assert run(archive, code) == "1 False"
