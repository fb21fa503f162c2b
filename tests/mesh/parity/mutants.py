"""Copies of Beewire's modules in which one line is another."""

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType

import beewire.mesh

SOURCE = Path(beewire.mesh.__file__).parent
_numbers = itertools.count()


def mutate(text: str, old: str, new: str) -> str:
    """Return `text` with `old`, which it has once, as `new`."""
    assert text.count(old) == 1, f"{text.count(old)} times in the source: {old!r}"
    return text.replace(old, new)


def mutant(home: Path, package: str, file: str, old: str, new: str) -> ModuleType:
    """Import a copy of `beewire.mesh.<package>` in whose `file` `old` is `new`.

    The copy is made in `home`, a directory on the path, and imports its own modules.
    """
    name = f"mutant_{next(_numbers)}"
    (home / name).mkdir()
    for path in (SOURCE / package).glob("*.py"):
        text = path.read_text()
        if path.name == file:
            text = mutate(text, old, new)
        # Numbers that others compare by identity stay the same ones.
        copied = text.replace(f"beewire.mesh.{package}", name).replace(
            f"{name}.vocabulary", f"beewire.mesh.{package}.vocabulary"
        )
        (home / name / path.name).write_text(copied)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def forget(module: ModuleType) -> None:
    """Have a mutant's modules no longer imported."""
    for name in [each for each in sys.modules if each.startswith(module.__name__)]:
        del sys.modules[name]
