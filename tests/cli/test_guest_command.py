"""The command line of `beewire guest`, where it needs no guest."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_command_is_wanted(beewire: Run) -> None:
    ran = beewire("guest", "--kernel", "6.12")

    assert ran.returncode == 2
    assert ran.stderr.startswith("beewire: what is to be run?")


def test_a_name_that_is_no_kernel_is_refused(beewire: Run) -> None:
    ran = beewire("guest", "--kernel", "latest", "--", "true")

    assert ran.returncode == 2
    assert "is no kernel: say a series (6.12)" in ran.stderr


@pytest.mark.parametrize(
    "option",
    [("--timeout", "0"), ("--timeout", "x"), ("--memory", "-1"), ("--cpus", "0")],
)
def test_numbers_that_make_no_guest_are_refused(
    beewire: Run, option: tuple[str, str]
) -> None:
    ran = beewire("guest", *option, "--", "true")

    assert ran.returncode == 2
    assert option[0] in ran.stderr


def test_missing_programs_are_named_with_their_packages(
    beewire: Run, tmp_path: Path
) -> None:
    modules = tmp_path / "lib/modules/6.6.6"
    modules.mkdir(parents=True)
    (modules / "vmlinuz").touch()

    ran = beewire(
        *("guest", "--kernel", str(tmp_path), "--", "true"),
        PATH=str(tmp_path),
    )

    assert ran.returncode == 125
    assert "(Debian package qemu-system-x86)" in ran.stderr
    assert "(Debian package busybox-static)" in ran.stderr


def test_kept_kernels_are_listed(beewire: Run, tmp_path: Path) -> None:
    kernels = tmp_path / "beewire/guest/kernels"
    for release in ("6.12.9+deb12-cloud-amd64", "5.10.0-46-cloud-amd64"):
        (kernels / release).mkdir(parents=True)

    ran = beewire("guest", "--list", XDG_CACHE_HOME=str(tmp_path))

    assert [line.split()[0] for line in ran.stdout.splitlines()] == [
        "5.10.0-46-cloud-amd64",
        "6.12.9+deb12-cloud-amd64",
    ]


def test_the_list_can_be_had_as_json(beewire: Run, tmp_path: Path) -> None:
    (tmp_path / "beewire/guest/kernels/6.12.9+deb12-cloud-amd64").mkdir(parents=True)
    file = tmp_path / "kernels.json"

    beewire("guest", "--list", "--json", str(file), XDG_CACHE_HOME=str(tmp_path))

    assert [each["release"] for each in json.loads(file.read_text())] == [
        "6.12.9+deb12-cloud-amd64"
    ]


def test_kept_kernels_can_be_removed(beewire: Run, tmp_path: Path) -> None:
    kernel = tmp_path / "beewire/guest/kernels/6.12.9+deb12-cloud-amd64"
    kernel.mkdir(parents=True)

    ran = beewire("guest", "--clean", XDG_CACHE_HOME=str(tmp_path))

    assert ran.stdout == "removed 6.12.9+deb12-cloud-amd64\n"
    assert not kernel.exists()
