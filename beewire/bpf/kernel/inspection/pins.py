"""Which programs, maps and links have names under a BPF file system."""

import os

from beewire.bpf.kernel import pins
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.bpf.kernel.ids import LINK, MAP, PROGRAM
from beewire.bpf.kernel.privilege import read_text
from beewire.errors import BeewireError

_MOST = 100_000  # names that are looked at: a pin is one, and few have thousands
_FIELDS = {"prog_id": PROGRAM, "map_id": MAP, "link_id": LINK}


def pinned() -> dict[tuple[str, int], list[str]]:
    """The paths of everything that is pinned where this process can see it.

    A link that is held by a pin tells of its program, too, and is a link.
    """
    found: dict[tuple[str, int], list[str]] = {}
    for path in _paths():
        try:
            with Descriptor(pins.open_any(path)) as handle:
                what = object_of(read_text(f"/proc/self/fdinfo/{handle.fd}"))
        except BeewireError:
            continue  # removed meanwhile, or not for us
        if what is not None:
            found.setdefault(what, []).append(path)
    return found


def object_of(fdinfo: str) -> tuple[str, int] | None:
    """What a descriptor is of, by what /proc tells of it: ("map", 7)."""
    told = dict(line.split(":", 1) for line in fdinfo.split("\n") if ":" in line)
    # A link's has the program's id, too.
    for field in ("link_id", "map_id", "prog_id"):
        if field in told:
            return _FIELDS[field], int(told[field])
    return None


def _paths() -> list[str]:
    found: list[str] = []
    for mount in mount_points():
        for folder, _, names in os.walk(mount):
            found += (f"{folder}/{name}" for name in names)
            if len(found) > _MOST:
                return found[:_MOST]
    return found


def mount_points() -> list[str]:
    """Where BPF file systems are mounted, each file system once."""
    seen: dict[int, str] = {}
    for line in read_text("/proc/self/mounts").split("\n"):
        fields = line.split(" ")
        if fields[2:3] == ["bpf"]:
            path = fields[1].replace("\\040", " ")
            try:
                seen.setdefault(os.stat(path).st_dev, path)  # noqa: PTH116
            except OSError:
                continue
    return list(seen.values())
