"""The public surface of `beewire.bpf`, name by name: a change of it is a visible diff.

`python tests/bpf/test_public_api.py` writes the golden file anew.
"""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import beewire.bpf
from beewire.bpf import author

# Special methods that a user calls without naming them.
SPOKEN = {
    "__init__",
    "__getitem__",
    "__setitem__",
    "__delitem__",
    "__iter__",
    "__len__",
}

GOLDEN = Path(__file__).parent / "public_api.txt"


def described() -> str:
    """Every public name with its signature, and those of its public methods."""
    lines: list[str] = []
    for name in sorted(author.__all__):
        lines += _lines(name, getattr(beewire.bpf, name))
    return "\n".join(lines) + "\n"


def _lines(name: str, value: object) -> Iterator[str]:
    if isinstance(value, type):
        yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
        ours = [part for part in value.__mro__ if part.__module__.startswith("beewire")]
        members = {
            key: item for part in reversed(ours) for key, item in vars(part).items()
        }
        for key in sorted(members):
            if not key.startswith("_") or key in SPOKEN:
                yield f"    {_member(key, members[key])}"
    elif inspect.ismodule(value):
        yield f"module {value.__name__}"
    elif callable(value) and hasattr(value, "__name__"):
        yield f"def {name}{inspect.signature(value)}"
    else:
        yield f"{name} = {value!r}"


def _member(name: str, value: object) -> str:
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    if inspect.isfunction(value):
        return f"def {name}{inspect.signature(value)}"
    return name


def test_the_public_surface_is_as_recorded() -> None:
    assert described() == GOLDEN.read_text(encoding="utf-8")


def test_type_checkers_see_every_public_name() -> None:
    # Without its import there, a name of __all__ is an `object` to them.
    tree = ast.parse(inspect.getsource(author))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = [alias.name for node in imports for alias in node.names]

    assert sorted(seen) == sorted(author.__all__)


def test_what_dir_shows_can_be_had() -> None:
    missing = [name for name in dir(beewire.bpf) if not hasattr(beewire.bpf, name)]

    assert missing == []


def test_every_public_name_is_documented() -> None:
    values = {name: getattr(beewire.bpf, name) for name in author.__all__}

    bare = [
        name
        for name, value in values.items()
        if callable(value) and not inspect.getdoc(value) and not name[1:].isdigit()
    ]

    assert bare == []


def test_importing_the_package_loads_no_room() -> None:
    code = (
        "import sys; import beewire.bpf; "
        "print([name for name in sys.modules if name.startswith('beewire.bpf.')])"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"


def test_attaching_needs_none_of_the_slow_modules() -> None:
    # design.md: they cost more than the whole compiler.
    code = (
        "import sys; from beewire.bpf import *; from beewire.bpf.lang import program; "
        "slow = {'dataclasses', 'inspect', 'asyncio', 'logging', 'argparse', 'pathlib'}; "
        "print(sorted(slow & sys.modules.keys()))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"


if __name__ == "__main__":
    GOLDEN.write_text(described(), encoding="utf-8")
