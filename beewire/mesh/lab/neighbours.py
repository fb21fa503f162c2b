"""Pods that do nothing, beside those that are measured."""

import contextlib
from collections.abc import Iterator

from beewire.mesh.lab.description import SidecarConfig
from beewire.mesh.lab.interception import Interception
from beewire.mesh.lab.pods import Lab, Pod
from beewire.mesh.lab.sidecar import starting

FIRST_SUBNET = 3  # 1 and 2 are those of pods A and B


@contextlib.contextmanager
def neighbours(
    lab: Lab,
    count: int,
    interception: Interception | None,
    config: SidecarConfig | None = None,
) -> Iterator[list[Pod]]:
    """`count` more pods in `lab` until the end of the block, idle, each with its Envoy.

    Without an interception they have no sidecar either. At most 250.

    Raises:
        MeshError: as for pods, interceptions and sidecars.
    """
    with contextlib.ExitStack() as stack:
        pods, sidecars = [], []
        for number in range(count):
            pod = stack.enter_context(lab.pod(f"n{number}", FIRST_SUBNET + number))
            pods.append(pod)
            if interception is not None:
                stack.enter_context(interception.install(pod))
                sidecars.append(stack.enter_context(starting(pod, config, fixed=True)))
        for each in sidecars:
            each.wait()
        yield pods
