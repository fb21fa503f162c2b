"""`Kconfig`: programs that know how the kernel was configured."""

import os
import re
from typing import Any

import pytest

from beewire.bpf import Kconfig, collect, load, u32
from beewire.bpf import kernel as kernel_room
from beewire.bpf.kernel.kconfig import read_options
from beewire.bpf.object import read, write
from beewire.errors import NotSupported, SpecError
from tests.bpf.lang.cells import program

OPTIONS = """
version = Kconfig(u32, "LINUX_KERNEL_VERSION")
hz = Kconfig(u32, "CONFIG_HZ", optional=True)
syscalls = Kconfig(bool, "CONFIG_BPF_SYSCALL", optional=True)
letter = Kconfig(u8, "CONFIG_BPF", optional=True)
nothing = Kconfig(bool, "CONFIG_BEEWIRE_NONE", optional=True)
"""
BODY = """
results[0] = version.value
results[1] = hz.value
results[2] = 1 if syscalls.value else 0
results[3] = letter.value
results[4] = 1 if nothing.value else 7
"""


def _version() -> int:
    # "6.18.44-fc", or as Debian tells it: "#1 SMP Debian 6.1.158-1 (2026-11-20)".
    uname = os.uname()
    told = re.search(r"Debian (\S+)", uname.version)
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", told[1] if told else uname.release)
    assert found is not None
    major, minor, patch = (int(number or 0) for number in found.groups())
    return major << 16 | minor << 8 | min(patch, 255)


@pytest.mark.kernel
def test_programs_read_options_of_the_kernel() -> None:
    names: dict[str, Any] = program(OPTIONS, BODY)
    options = read_options()

    with load([names["program"]]) as loaded:
        loaded[names["program"]].live.test_run(data_in=bytes(64))
        found = [loaded[names["results"]][i] for i in range(5)]
        assert loaded[names["version"]].value == _version()

    assert found == [
        _version(),
        int(options.get("CONFIG_HZ", "0")),
        int(options.get("CONFIG_BPF_SYSCALL") == "y"),
        ord(options.get("CONFIG_BPF", "\0")),
        7,
    ]


@pytest.mark.kernel
def test_an_option_travels_in_an_object() -> None:
    names: dict[str, Any] = program(OPTIONS, BODY)
    spec = read(write(collect([names["program"]])))

    found = {each.name: each.weak for each in spec.sections[".kconfig"].variables}
    assert found == {
        "LINUX_KERNEL_VERSION": False,
        "CONFIG_HZ": True,
        "CONFIG_BPF_SYSCALL": True,
        "CONFIG_BPF": True,
        "CONFIG_BEEWIRE_NONE": True,
    }
    with kernel_room.load(spec) as loaded:
        loaded.programs["program"].test_run(data_in=bytes(64))


@pytest.mark.kernel
def test_an_option_that_the_kernel_lacks_is_refused() -> None:
    names: dict[str, Any] = program(
        'gone = Kconfig(u32, "CONFIG_BEEWIRE_NONE")\n', "results[0] = gone.value"
    )

    with pytest.raises(NotSupported, match="the option CONFIG_BEEWIRE_NONE of"):
        load([names["program"]])


def test_a_name_that_is_no_option_is_refused() -> None:
    with pytest.raises(SpecError) as refused:
        Kconfig(u32, "HZ")

    assert str(refused.value) == (
        "'HZ' is no option of the kernel: they begin with CONFIG_, such as CONFIG_HZ; "
        "or LINUX_KERNEL_VERSION"
    )
