"""LSM hooks of cgroups, which this machine's kernel may lack."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import attach_cgroup, features
from beewire.bpf.kernel.links.info import CgroupInfo
from beewire.bpf.object import AttachKind, ProgramKind

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = pytest.mark.kernel

BIND = """
import socket
with socket.socket() as s:
    try:
        s.bind(("127.0.0.1", 0))
    except OSError as error:
        print(type(error).__name__)
"""


def test_an_lsm_program_decides_for_its_cgroup(
    counter: Callable[..., "Counter"],
    cgroup: str,
    run_in_cgroup: Callable[[str], str],
) -> None:
    if not features.attach_kind(AttachKind.LSM_CGROUP).available:
        pytest.skip("this kernel has no LSM hooks of cgroups")
    deny = counter(ProgramKind.LSM, AttachKind.LSM_CGROUP, 0, attach_to="socket_bind")

    with attach_cgroup(deny.program, cgroup) as link:
        during, info = run_in_cgroup(BIND), link.info
    after = run_in_cgroup(BIND)

    assert (during, after) == ("PermissionError", "")
    assert deny.hits == 1
    assert isinstance(info, CgroupInfo)
    assert info.attach_kind is AttachKind.LSM_CGROUP
