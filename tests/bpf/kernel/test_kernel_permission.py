import os
import shutil
import subprocess
import sys

import pytest

from beewire.bpf.kernel import explain, privilege
from beewire.errors import KernelError, NotPermitted, NotSupported

PROGRAM = """
from beewire.bpf import isa
from beewire.bpf.kernel import attach_tracepoint, load, load
from beewire.bpf.object import *
from beewire.errors import NotPermitted, BeewireError
spec = ObjectSpec("test")
spec.programs["p"] = ProgramSpec("p", kind=ProgramKind.{kind}, section="{kind}",
    insns=(isa.mov_imm(0, 0), isa.exit_insn()))
try:
    load(spec)
    print("loaded")
except NotPermitted as error:
    print(error)
"""

MAP = """
from beewire.bpf.kernel import load
from beewire.bpf.object import *
from beewire.errors import NotPermitted
spec = ObjectSpec("test")
spec.maps["m"] = MapSpec("m", kind=MapKind.HASH, key_size=4, value_size=4, max_entries=1)
try:
    load(spec)
    print("created")
except NotPermitted as error:
    print(error)
"""


def run_with(capabilities: str, code: str) -> str:
    """What `code` prints in a child process with these capabilities only."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is missing")
    command = [
        setpriv,
        f"--bounding-set=-all{capabilities}",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.host
@pytest.mark.kernel
def test_a_process_without_capabilities_is_told_which_it_lacks() -> None:
    assert run_with("", PROGRAM.format(kind="TRACEPOINT")) == (
        "cannot load program 'p' (TRACEPOINT): this process lacks CAP_BPF and "
        "CAP_PERFMON; run it as root or give it the capabilities"
    )


@pytest.mark.host
@pytest.mark.kernel
@pytest.mark.parametrize(
    ("capabilities", "kind", "lacking"),
    [
        (",+bpf", "TRACEPOINT", "lacks CAP_PERFMON; run"),
        (",+bpf", "XDP", "lacks CAP_NET_ADMIN; run"),
        (",+perfmon", "XDP", "lacks CAP_BPF and CAP_NET_ADMIN; run"),
    ],
)
def test_only_what_is_lacking_is_named(
    capabilities: str, kind: str, lacking: str
) -> None:
    assert lacking in run_with(capabilities, PROGRAM.format(kind=kind))


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("capabilities", "kind"),
    [
        (",+bpf,+perfmon", "TRACEPOINT"),
        (",+bpf,+net_admin", "XDP"),
        (",+sys_admin", "TRACEPOINT"),
        (",+bpf", "SOCKET_FILTER"),
    ],
)
def test_the_capabilities_that_are_named_suffice(capabilities: str, kind: str) -> None:
    assert run_with(capabilities, PROGRAM.format(kind=kind)) == "loaded"


@pytest.mark.kernel
def test_a_map_without_capabilities_names_cap_bpf() -> None:
    assert run_with("", MAP) == (
        "cannot create map 'm': this process lacks CAP_BPF; run it as root or give it "
        "the capability"
    )


@pytest.mark.host
@pytest.mark.kernel
def test_capabilities_inside_a_user_namespace_are_told_to_be_worthless() -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare (util-linux) is missing")

    done = subprocess.run(
        [unshare, "-Ur", sys.executable, "-c", MAP],
        check=False,
        capture_output=True,
        text=True,
    )

    if "unshare failed" in done.stderr:
        pytest.skip("user namespaces are switched off")
    assert "count only inside its user namespace" in done.stdout


def test_an_unknown_errno_keeps_its_name() -> None:
    error = explain.refusal(5, "MAP_CREATE", "create map 'm'")

    assert str(error) == "cannot create map 'm': input/output error (EIO)"
    assert (error.errno, error.command) == (5, "MAP_CREATE")


def test_what_the_kernel_lacks_says_since_when_others_have_it() -> None:
    error = explain.refusal(95, "LINK_CREATE", "attach 'p' to cgroup x")

    assert isinstance(error, NotSupported)
    assert "since 5.7" in str(error)
    assert error.command == "LINK_CREATE"


def test_refusals_are_kernel_errors() -> None:
    assert isinstance(
        explain.refusal(1, "MAP_CREATE", "create"), NotPermitted | KernelError
    )


def test_admin_stands_for_bpf_and_perfmon() -> None:
    lacking = privilege.missing(("CAP_BPF", "CAP_PERFMON"))

    assert not (privilege.has_capability("CAP_SYS_ADMIN") and lacking)


@pytest.mark.parametrize("release", ["6.1-rc3", "5.10", "6", "weird"])
def test_any_release_name_can_be_worded(
    monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    named = os.uname_result(("Linux", "here", release, "", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: named)

    assert "the capabilities are there" in privilege.why_forbidden(())
