"""How the tests enrol a pod of the lab."""

from beewire.mesh.enrol import Pod
from beewire.mesh.lab.pods import Pod as LabPod


def target(pod: LabPod, *more: str) -> Pod:
    """A pod as the data path sees it; `more` are addresses besides its own."""
    return Pod(
        cgroup=pod.cgroup.path,
        proxy_cgroup=pod.proxy.cgroup.path,
        netns=pod.namespace.path,
        addresses=(*pod.addresses, *more),
    )
