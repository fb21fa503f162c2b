"""`Target`: which pod is to be enrolled, and how."""

from collections.abc import Mapping
from typing import NamedTuple

_NO_SETTINGS: Mapping[str, object] = {}


class Target(NamedTuple):
    """What is to be enrolled; what is empty is found out, or stays as it was.

    `pod` is the UID of a Kubernetes pod, the id of podman's, or the name of one whose
    namespace CNI announced. `cgroup` holds the whole pod, `proxy_cgroup` below it the
    sidecar alone; `netns` is a path that names the network namespace. `config` has
    settings by Istio's names (`{"InboundPortsInclude": "*"}`); none stand for what Istio's
    injector asks for. `close_existing` ends connections that are older than the
    enrolment. `sidecar_later`: it is no error that a sidecar runs and does not listen yet.
    """

    name: str = ""
    pod: str = ""
    cgroup: str = ""
    netns: str = ""
    proxy_cgroup: str = ""
    addresses: tuple[str, ...] = ()
    config: Mapping[str, object] = _NO_SETTINGS
    close_existing: bool = False
    sidecar_later: bool = False
