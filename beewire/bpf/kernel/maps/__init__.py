"""Maps of the kernel, as Python mappings.

base        Map: hash, LRU and LPM maps, and what all share
array       fixed keys, no deletion
percpu      lists of values, one for each possible CPU
references  sockets, programs and maps: set by descriptor, read by number
storage     values in sockets, files, tasks and cgroups (owners: what has a descriptor)
keyless     ring buffers and others that are no mapping
queues      queues, stacks and Bloom filters
struct_ops  tables of callbacks
codec       values <-> bytes (rows: many at once; arrays: as numpy has them)
many        all entries: read, stored, deleted
walk        iteration that ends (batch: by batches; shape: what it has to know)
create      MapSpec -> a new map
describe    an existing map -> MapSpec (info: what else the kernel tells)
"""

from beewire.bpf.kernel.maps.base import AnyMap, Map
from beewire.bpf.kernel.maps.codec import AnyCodec, MapCodec, Rows, default_codec
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.maps.array import ArrayMap
    from beewire.bpf.kernel.maps.info import MapInfo
    from beewire.bpf.kernel.maps.keyless import KeylessMap
    from beewire.bpf.kernel.maps.owners import HasFileno
    from beewire.bpf.kernel.maps.percpu import (
        PerCpu,
        PerCpuArray,
        PerCpuHash,
        possible_cpus,
    )
    from beewire.bpf.kernel.maps.references import ReferenceMap
    from beewire.bpf.kernel.maps.storage import StorageMap

_LAZY = {
    "ArrayMap": "array",
    "HasFileno": "owners",
    "KeylessMap": "keyless",
    "MapInfo": "info",
    "PerCpu": "percpu",
    "PerCpuArray": "percpu",
    "PerCpuHash": "percpu",
    "ReferenceMap": "references",
    "StorageMap": "storage",
    "possible_cpus": "percpu",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not by importlib, whose own import takes 0.4 ms.
    home = __import__(f"{__name__}.{_LAZY[name]}", fromlist=(name,))
    globals()[name] = value = getattr(home, name)
    return value


__all__ = [
    "AnyCodec",
    "AnyMap",
    "ArrayMap",
    "HasFileno",
    "KeylessMap",
    "Map",
    "MapCodec",
    "MapInfo",
    "PerCpu",
    "PerCpuArray",
    "PerCpuHash",
    "ReferenceMap",
    "Rows",
    "StorageMap",
    "default_codec",
    "possible_cpus",
]
