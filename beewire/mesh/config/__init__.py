"""What Istio is told about a pod's traffic, as one typed value.

configuration = combine(read_annotations({"sidecar.istio.io/interceptionMode": "TPROXY"}))
configuration.config                                   # a PodConfig
configuration.origin("inbound_interception_mode")      # who said so, and where

pod.py          PodConfig, the value itself
values.py       kinds of values: texts to values and back
knobs.py        every knob: its names everywhere, and what Beewire does with it
origins.py      settings with their origins, findings, the layer of one source
annotations.py, manifest.py, file.py, flags.py, helm.py, system.py    a source each
istio.py        istio-iptables' own names, in which its test vectors are written
layers.py       layers become one Configuration
faults.py       settings that contradict each other; knobs that cannot be honoured
"""

from beewire.mesh.config.annotations import read_annotations
from beewire.mesh.config.faults import refusals
from beewire.mesh.config.file import parse_file, read_file
from beewire.mesh.config.flags import read_environment, read_flags
from beewire.mesh.config.helm import read_values
from beewire.mesh.config.istio import from_istio
from beewire.mesh.config.knobs import KNOB, KNOBS, TOOL_FLAGS, Knob, Support
from beewire.mesh.config.layers import (
    Configuration,
    combine,
    examine,
    python,
    with_addresses,
)
from beewire.mesh.config.manifest import PodManifest, read_pod
from beewire.mesh.config.origins import (
    Base,
    Collector,
    Finding,
    Layer,
    Level,
    Origin,
    Setting,
    Source,
)
from beewire.mesh.config.pod import (
    ALL,
    All,
    Bypass,
    InterceptionMode,
    IPNetwork,
    PodConfig,
    ProxyIdentity,
)
from beewire.mesh.config.system import (
    parse_resolv_conf,
    read_groups,
    read_resolv_conf,
)
from beewire.mesh.config.writing import write_file, write_settings

__all__ = [
    "ALL",
    "KNOB",
    "KNOBS",
    "TOOL_FLAGS",
    "All",
    "Base",
    "Bypass",
    "Collector",
    "Configuration",
    "Finding",
    "IPNetwork",
    "InterceptionMode",
    "Knob",
    "Layer",
    "Level",
    "Origin",
    "PodConfig",
    "PodManifest",
    "ProxyIdentity",
    "Setting",
    "Source",
    "Support",
    "combine",
    "examine",
    "from_istio",
    "parse_file",
    "parse_resolv_conf",
    "python",
    "read_annotations",
    "read_environment",
    "read_file",
    "read_flags",
    "read_groups",
    "read_pod",
    "read_resolv_conf",
    "read_values",
    "refusals",
    "with_addresses",
    "write_file",
    "write_settings",
]
