"""A lab with everything in it: interception, sidecars, nginx."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from beewire.errors import MeshError
from beewire.mesh.lab.description import SidecarConfig
from beewire.mesh.lab.interception import Interception
from beewire.mesh.lab.pilot import pilot
from beewire.mesh.lab.pods import Lab
from beewire.mesh.lab.server import Server, nginx
from beewire.mesh.lab.sidecar import Sidecar, sidecar


@dataclass(frozen=True, slots=True)
class Mesh:
    """What runs in a lab: `name` says what intercepts, `a` and `b` are the sidecars."""

    name: str
    lab: Lab
    a: Sidecar
    b: Sidecar
    server: Server

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Check at the end of the block that everything still runs.

        Raises:
            MeshError: a sidecar or the server has ended. It takes the place of what
                failed in the block, which is why that failed.
        """
        try:
            yield
        except MeshError:
            self._check()
            raise
        self._check()

    def _check(self) -> None:
        for part in (self.a, self.b, self.server):
            part.check()


@contextlib.contextmanager
def mesh(
    lab: Lab, interception: Interception, config: SidecarConfig | None = None
) -> Iterator[Mesh]:
    """Intercept both pods of `lab`, start their sidecars, and nginx in pod B.

    A sidecar is Envoy, and what pilot-agent has beside it.

    Programs or rules come first: what starts later never runs without them.

    Raises:
        MeshError: something is missing or does not start.
    """
    with contextlib.ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(interception.install(pod))
            stack.enter_context(pilot(pod))
        first, second = (stack.enter_context(sidecar(pod, config)) for pod in lab.pods)
        server = stack.enter_context(nginx(lab.b))
        yield Mesh(interception.name, lab, first, second, server)
