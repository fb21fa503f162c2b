"""The file of a run: cells as they come, so that a run that is stopped can go on.

    {"benchmark": "mesh", "machine": {...}, "settings": {...}, "rounds": 8,
     "missing": [{"variant": "splice", "workload": "", "reason": "..."}],
     "figures": {"sidecars.http_c16.requests_ratio": {"value": ..., ...}},
     "cells": [{"round": 0, "workload": "http_c16", "variant": "sidecars", ...}]}

A group is all cells of one workload in one round. Only whole groups are kept: what is
compared was measured within a minute.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from _mesh_cells import Cell
from _mesh_workloads import Kind
from _report import Figure, Json

from beewire.errors import UsageError

# What settings were that files did not tell at first.
BEFORE: Json = {"placement": "free", "workers": 1, "page_lists": "as-is"}


class Entry(NamedTuple):
    """Which cell of a group: the variant, and by which kind of ports."""

    variant: str
    kind: Kind


class Missing(NamedTuple):
    """Something that cannot be measured here, and why."""

    variant: str
    workload: str  # "" for all
    reason: str


class Store:
    """All cells so far, in the file `path` or in memory alone."""

    def __init__(self, path: Path | None, machine: Json, settings: Json) -> None:
        self.path = path
        self.machine = machine
        self.settings = settings
        self.cells: list[Cell] = []
        self.missing: list[Missing] = []
        if path is not None and path.exists() and path.stat().st_size:
            self._read(path)

    @classmethod
    def kept(cls, path: Path | None) -> Self:
        """What stands in a file, whatever it was made with.

        Raises:
            UsageError: there is no such file, or it is none of this benchmark.
        """
        if path is None:
            raise UsageError("--render: of which run? --json FILE names it")
        if not path.exists():
            raise UsageError(f"--render: there is no {path}")
        return cls(path, {}, BEFORE | _content(path)["settings"])

    def _read(self, path: Path) -> None:
        found = _content(path)
        settings, cells = BEFORE | found["settings"], found["cells"]
        if different := _differences(settings, self.settings):
            raise UsageError(
                f"{path} is of a run with {different}: give the same options to go on"
                " with it, or name another file"
            )
        self.cells = cells
        self.missing = [Missing(**each) for each in found.get("missing", ())]
        self.machine = found["machine"]

    def has(self, round_number: int, workload: str, entries: Iterable[Entry]) -> bool:
        """Whether a group is there, with all of `entries`."""
        there = {
            (cell["variant"], cell["kind"])
            for cell in self.cells
            if _of(cell, round_number, workload)
        }
        return all((entry.variant, entry.kind.value) in there for entry in entries)

    def put(
        self, round_number: int, workload: str, cells: Mapping[Entry, Cell]
    ) -> None:
        """Keep a group; it takes the place of one that is there."""
        self.cells = [
            cell for cell in self.cells if not _of(cell, round_number, workload)
        ]
        for entry, cell in cells.items():
            key: Cell = {
                "round": round_number,
                "workload": workload,
                "variant": entry.variant,
                "kind": entry.kind.value,
            }
            self.cells.append(key | cell)

    def workloads(self) -> list[str]:
        """The workloads that there is something of."""
        return list(dict.fromkeys(cell["workload"] for cell in self.cells))

    def rounds(self) -> int:
        """How many rounds have been begun."""
        return len({cell["round"] for cell in self.cells})

    def write(self, figures: Mapping[str, Figure]) -> None:
        """Write the file, whole or not at all."""
        if self.path is None:
            return
        head = {
            "benchmark": "mesh",
            "machine": self.machine,
            "settings": self.settings,
            "rounds": self.rounds(),
            "missing": [each._asdict() for each in self.missing],
            "figures": {name: figure.as_json() for name, figure in figures.items()},
        }
        lines = ",\n".join(json.dumps(cell) for cell in self.cells)
        text = json.dumps(head, indent=2).removesuffix("\n}")
        beside = self.path.with_name(self.path.name + ".part")
        beside.write_text(f'{text},\n  "cells": [\n{lines}\n]}}\n', encoding="utf-8")
        beside.replace(self.path)


def _content(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if {"settings", "cells", "machine"} <= found.keys():
            return dict(found)
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path} is no file of this benchmark") from error
    raise UsageError(f"{path} is no file of this benchmark")


def _of(cell: Cell, round_number: int, workload: str) -> bool:
    return cell["round"] == round_number and cell["workload"] == workload


def _differences(old: Json, new: Json) -> str:
    names = sorted(set(old) | set(new))
    return ", ".join(
        f"{name} {old.get(name)}" for name in names if old.get(name) != new.get(name)
    )
