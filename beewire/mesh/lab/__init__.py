"""Pods on one machine: namespaces, cgroups, real Envoys, an application and load.

    with Lab() as lab, mesh(lab, Iptables()):
        print(load(lab.a, lab.b, LoadConfig(seconds=1)).requests_per_s)

`runs` says who owns what and cleans up, `pods` and `wiring` build the machines, `place`
starts things in them, `sidecar` runs Envoy with the configuration that `envoy` makes of a
`description` and of `identities`, `pilot` what pilot-agent has beside it, `server` nginx,
`load` wrk, `grpc` h2load, `tcp` small servers; `interception` is the plug that is
compared, `usage` and `measure` what it costs; `demo`, `follow`, `report` and `table` are
`beewire demo`.
"""

from beewire.interrupts import Stopped, unwinding
from beewire.mesh.lab.cgroups import Cgroup
from beewire.mesh.lab.demo import DemoConfig, DemoResult, run_demo
from beewire.mesh.lab.description import Protocol, Service, SidecarConfig
from beewire.mesh.lab.follow import Hop, follow
from beewire.mesh.lab.grpc import GrpcLoad
from beewire.mesh.lab.interception import SIDECAR, Beewire, Interception, Iptables
from beewire.mesh.lab.load import LoadConfig, LoadResult, load
from beewire.mesh.lab.measure import conntrack_entries, cpu_us, iptables_rules
from beewire.mesh.lab.mesh import Mesh, mesh
from beewire.mesh.lab.namespaces import Namespace
from beewire.mesh.lab.pilot import pilot
from beewire.mesh.lab.place import Place
from beewire.mesh.lab.pods import Lab, LabConfig, Pod
from beewire.mesh.lab.runs import clean
from beewire.mesh.lab.server import NginxConfig, body, nginx
from beewire.mesh.lab.sidecar import Sidecar, sidecar
from beewire.mesh.lab.tcp import digest, echo, received, serving, tell_client

__all__ = [
    "SIDECAR",
    "Beewire",
    "Cgroup",
    "DemoConfig",
    "DemoResult",
    "GrpcLoad",
    "Hop",
    "Interception",
    "Iptables",
    "Lab",
    "LabConfig",
    "LoadConfig",
    "LoadResult",
    "Mesh",
    "Namespace",
    "NginxConfig",
    "Place",
    "Pod",
    "Protocol",
    "Service",
    "Sidecar",
    "SidecarConfig",
    "Stopped",
    "body",
    "clean",
    "conntrack_entries",
    "cpu_us",
    "digest",
    "echo",
    "follow",
    "iptables_rules",
    "load",
    "mesh",
    "nginx",
    "pilot",
    "received",
    "run_demo",
    "serving",
    "sidecar",
    "tell_client",
    "unwinding",
]
