"""A lab with everything in it: interception, sidecars, nginx."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from beewire.errors import MeshError
from beewire.mesh.lab.description import SidecarConfig
from beewire.mesh.lab.interception import Interception
from beewire.mesh.lab.pilot import pilot
from beewire.mesh.lab.pods import Lab
from beewire.mesh.lab.server import NginxConfig, Server, nginx
from beewire.mesh.lab.sidecar import Sidecar, sidecar
from beewire.mesh.lab.tools import advice


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
    lab: Lab,
    interception: Interception,
    config: SidecarConfig | None = None,
    *,
    inbound: SidecarConfig | None = None,
    web: NginxConfig | None = None,
) -> Iterator[Mesh]:
    """Intercept both pods of `lab`, start their sidecars, and nginx in pod B.

    A sidecar is Envoy, and what pilot-agent has beside it. Pod B's is as `inbound` says
    where that is not as `config`. Both get their certificates where they need them.

    Programs or rules come first: what starts later never runs without them.

    Raises:
        MeshError: something is missing or does not start.
    """
    first = config or SidecarConfig()
    configs = _identified(lab, [first, inbound or first])
    with contextlib.ExitStack() as stack:
        for pod in lab.pods:
            stack.enter_context(interception.install(pod))
            stack.enter_context(pilot(pod))
        a, b = (
            stack.enter_context(sidecar(pod, each))
            for pod, each in zip(lab.pods, configs, strict=True)
        )
        server = stack.enter_context(nginx(lab.b, web))
        yield Mesh(interception.name, lab, a, b, server)


def _identified(lab: Lab, configs: Sequence[SidecarConfig]) -> Sequence[SidecarConfig]:
    if not any(config.mutual_tls for config in configs):
        return configs
    try:
        from beewire.mesh.lab.identities import issue  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MeshError(f"cryptography is missing: {advice('cryptography')}") from error
    names = [pod.name for pod in lab.pods]
    issued = issue(lab.run.state / "tls", names, lab.a.proxy.uid)
    return [
        replace(config, identity=issued[name])
        for name, config in zip(names, configs, strict=True)
    ]
