"""`beewire mesh status` tells who else runs at a pod's hooks."""

import pytest

from beewire.bpf import SockAddr, connect4, load
from beewire.errors import NotSupported
from beewire.mesh.agent import Mesh
from beewire.mesh.agent.explaining import explain_question
from beewire.mesh.explain import parse
from beewire.mesh.lab import Lab
from tests.mesh.agent.conftest import target

pytestmark = pytest.mark.mesh


@connect4
def another(ctx: SockAddr) -> int:  # noqa: ARG001 - the hook passes it
    """A program of somebody else's."""
    return 1


@pytest.mark.parametrize("preorder", [False, True])
def test_a_program_above_is_a_problem_if_it_comes_first(
    lab: Lab, mesh: Mesh, preorder: bool
) -> None:
    parent = lab.run.cgroup().path
    with load(another) as theirs:
        try:
            link = theirs[another].attach(parent, preorder=preorder)
        except NotSupported:
            pytest.skip("this kernel has no BPF_F_PREORDER")
        with link, lab.a.proxy.listen("0.0.0.0", 15006):
            mesh.up(target(lab.a)._replace(sidecar_later=True))
            told = mesh.status("a")
            asked = parse(["10.96.0.10:80"])
            explained = explain_question(mesh.directories, "a", asked)
            mesh.down("a")

    (found,) = [each for each in told["beside"] if each["name"] == "another"]
    assert (found["hook"], found["above"]) == ("outbound4", True)
    assert found["comes_first"] is preorder
    assert (found["says"] in told["problems"]) is preorder
    assert (found["says"] in explained.notes) is preorder
