"""`Target`: which pod is to be enrolled, and how; `Attachment`: one that a runtime announces."""

from typing import NamedTuple


class Target(NamedTuple):
    """What is to be enrolled; what is empty is found out, or stays as it was.

    `pod` is the UID of a Kubernetes pod, the id of podman's, or the name of one whose
    namespace CNI announced. `cgroup` holds the whole pod, `proxy_cgroup` below it the
    sidecar alone; `netns` is a path that names the network namespace. `config` is
    the text of a Beewire file (`beewire.mesh.config.write_file` makes it of a PodConfig);
    empty stands for what Istio's injector asks for. `change` is another such text, whose
    settings win over it, and over what the pod has already. `close_existing` ends
    connections that are older than the enrolment. `sidecar_later`: it is no error that a
    sidecar runs and does not listen yet. `shadow`: Istio's rules act, and Beewire only
    decides. `beside_rules`: both act, where there are such rules.
    """

    name: str = ""
    pod: str = ""
    cgroup: str = ""
    netns: str = ""
    proxy_cgroup: str = ""
    addresses: tuple[str, ...] = ()
    config: str = ""
    change: str = ""
    close_existing: bool = False
    sidecar_later: bool = False
    shadow: bool = False
    beside_rules: bool = False


class Attachment(NamedTuple):
    """A pod's network as a container runtime announces it (CNI), before its cgroup is.

    `network` is the name of CNI's configuration, `sandbox` the runtime's id of the pod,
    `interface` its interface there.
    """

    netns: str
    sandbox: str
    interface: str
    network: str = ""
    name: str = ""
    uid: str = ""
    config: str = ""
