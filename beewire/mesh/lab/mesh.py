"""A lab with everything in it: interception, sidecars, nginx."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from beewire.mesh.lab.envoy import SidecarConfig
from beewire.mesh.lab.interception import Interception
from beewire.mesh.lab.pods import Lab
from beewire.mesh.lab.server import nginx
from beewire.mesh.lab.sidecar import Sidecar, sidecar


@dataclass(frozen=True, slots=True)
class Mesh:
    """What runs in a lab: `name` says what intercepts, `a` and `b` are the sidecars."""

    name: str
    lab: Lab
    a: Sidecar
    b: Sidecar


@contextlib.contextmanager
def mesh(
    lab: Lab, interception: Interception, config: SidecarConfig | None = None
) -> Iterator[Mesh]:
    """Intercept both pods of `lab`, start their sidecars, and nginx in pod B.

    Programs or rules come first: what starts later never runs without them.

    Raises:
        MeshError: something is missing or does not start.
    """
    with contextlib.ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(interception.install(pod))
        first, second = (stack.enter_context(sidecar(pod, config)) for pod in lab.pods)
        stack.enter_context(nginx(lab.b))
        yield Mesh(interception.name, lab, first, second)
