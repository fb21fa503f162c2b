"""BPF tokens, in user namespaces."""

import subprocess
import sys
from pathlib import Path

import pytest

from beewire.bpf.kernel import features

pytestmark = pytest.mark.kernel

CODE = """
import os
from beewire.bpf import isa
from beewire.bpf.btf import Int
from beewire.bpf.kernel import load
from beewire.bpf.object import *
from beewire.errors import BeewireError

spec = ObjectSpec("token")
number = Int("unsigned long", 8)
spec.maps["hits"] = MapSpec("hits", kind=MapKind.HASH, key_size=8, value_size=8,
    max_entries=4, key=number, value=number)
spec.programs["p"] = ProgramSpec("p", kind=ProgramKind.{kind}, section="{kind}",
    insns=(isa.mov_imm(0, {value}), isa.exit_insn()))
try:
    with load(spec) as loaded:
        hits = loaded.maps["hits"]
        hits[1] = 7
        before = len(os.listdir("/proc/self/fd"))
        load(spec).close()
        print("loaded", len(hits), before - len(os.listdir("/proc/self/fd")))
except BeewireError as error:
    print(error)
"""
EVERYTHING = ",".join(
    f"delegate_{what}=any" for what in ("cmds", "maps", "progs", "attachs")
)


@pytest.fixture(autouse=True)
def tokens() -> None:
    if not features.token():
        pytest.skip("this kernel has no BPF tokens")


def run(
    options: str,
    kind: str = "XDP",
    place: str = "/sys/fs/bpf",
    **environment: str,
) -> str:
    """What CODE says in a namespace that has this delegated to it."""
    import os  # noqa: PLC0415 - its environment

    root = Path(__file__).parents[3]
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("delegate.py")),
            options,
            place,
            CODE.replace("{kind}", kind).replace("{value}", "0"),
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare:" in done.stderr:
        pytest.skip("user namespaces are switched off")
    assert done.stderr == ""
    return done.stdout.strip()


def test_what_is_delegated_is_loaded_and_nothing_is_left_open() -> None:
    assert run(EVERYTHING) == "loaded 1 0"


@pytest.mark.parametrize("kind", ["XDP", "TRACEPOINT", "SOCKET_FILTER", "SCHED_CLS"])
def test_programs_of_every_sort_are_loaded(kind: str) -> None:
    assert run(EVERYTHING, kind).startswith("loaded")


def test_the_file_system_may_lie_where_the_environment_says(tmp_path: Path) -> None:
    place = {"place": str(tmp_path), "LIBBPF_BPF_TOKEN_PATH": str(tmp_path)}

    assert run(EVERYTHING, **place).startswith("loaded")


def test_an_empty_variable_switches_tokens_off() -> None:
    said = run(EVERYTHING, LIBBPF_BPF_TOKEN_PATH="")

    assert "count only inside its user namespace" in said


def test_a_place_that_gives_no_token_is_named() -> None:
    said = run(EVERYTHING, LIBBPF_BPF_TOKEN_PATH="/")

    assert said.startswith("cannot make a BPF token of /, which LIBBPF_BPF_TOKEN_PATH")


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ("", "cannot load the type information"),
        ("delegate_cmds=prog_load", "cannot load the type information"),
        ("delegate_cmds=any,delegate_progs=xdp", "cannot create map 'hits'"),
        ("delegate_cmds=any,delegate_maps=hash", "cannot load program 'p'"),
    ],
)
def test_what_is_not_delegated_is_refused(options: str, refused: str) -> None:
    said = run(options)

    assert said.startswith(refused)
    assert all(option in said for option in options.split(","))
    assert "\n" not in said
