"""Programs that are loaded for one pod, where the shared ones cannot serve it."""

from functools import cache
from typing import Any

from beewire.bpf import Loaded, Program, collect, load
from beewire.bpf.author.collection import Collection
from beewire.bpf.kernel import running
from beewire.mesh.programs.inbound import inbound_alone


def inbound(shared: Loaded, netns: int) -> Program[Any]:
    """A copy of the inbound program for one namespace, on the maps of `shared`.

    The shared one knows a pod by the address that a packet was sent to, which another
    pod of the node may have, too: link-local ones, or those of another network. The
    links of the copy keep it alive.
    """
    spec = _compiled()
    maps = {name: shared.maps[name] for name in spec.maps if name in shared.maps}
    loaded = load(spec, maps=maps, globals={"alone": netns})
    return loaded[inbound_alone]


@cache
def _compiled() -> Collection:
    return collect(inbound_alone, name="mesh_alone", target=running())
