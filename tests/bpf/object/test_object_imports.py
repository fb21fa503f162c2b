"""What compiling and loading needs not is not imported."""

import subprocess
import sys

import pytest


def imported(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["elf", "reader", "writer", "sections", "mapdefs"])
def test_a_spec_needs_no_file_format(module: str) -> None:
    loaded = imported("from beewire.bpf.object import ObjectSpec")

    assert f"beewire.bpf.object.{module}" not in loaded


@pytest.mark.parametrize("module", ["index", "decoding", "ext"])
def test_writing_types_needs_no_reader(module: str) -> None:
    loaded = imported("from beewire.bpf.btf import Builder")

    assert f"beewire.bpf.btf.{module}" not in loaded


@pytest.mark.parametrize("module", ["dataclasses", "inspect", "ctypes", "asyncio"])
def test_nothing_heavy_is_imported(module: str) -> None:
    loaded = imported("from beewire.bpf.object import read, write")

    assert module not in loaded


def test_the_lazy_names_are_found() -> None:
    names = "Hook, parse_section, read, section_name, write"

    assert "beewire.bpf.object.elf" in imported(
        f"from beewire.bpf.object import {names}"
    )


def test_other_names_are_not() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        imported("from beewire.bpf.object import spaceship")
