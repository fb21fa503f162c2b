"""The pods of a node: enrol, change, withdraw, tell; with a long-running agent, or without.

    from beewire.mesh.agent import Mesh, Target

    with Mesh() as mesh:
        mesh.up(Target(cgroup=..., netns=..., proxy_cgroup=...))
        print(mesh.status())

    mesh         Mesh: what can be done, from Python
    target       Target: which pod, and how
    operations   how it is done, on the pins and records of the node
    resolving    from what is asked for to what is known of a pod
    tending      what the agent does without being asked (watching: changed networks and containers)
    gates        namespaces that are closed until their pods are enrolled
    requests     what may be asked of the agent, by name
    server       the agent; client asks it; protocol is what they say
    directories  where everything is, and the lock of whoever changes it
    records      what is known of each pod
    places       a pod's cgroups and namespace, found from what a person knows
    containers   what the runtime calls a container
    explaining   why connections went where they went
    view         a namespace's addresses and sockets, asked from outside
    processes    a pod's processes, and copies of the sockets that they hold
    older        what goes past a pod's sidecar
    uninstall    everything removed, and looked for
    upgrade      other programs, and maps of another layout, under load
    cni          the plugin that a container runtime calls

Nothing is imported before it is named: the CNI plugin starts for each container.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.mesh.agent.directories import Directories
    from beewire.mesh.agent.mesh import Mesh
    from beewire.mesh.agent.records import PodRecord
    from beewire.mesh.agent.target import Target

__all__ = ["Directories", "Mesh", "PodRecord", "Target"]

_PLACES = {
    "Directories": "directories",
    "Mesh": "mesh",
    "PodRecord": "records",
    "Target": "target",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as above

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
