"""Names of where programs are attached: cgroups, network namespaces, interfaces."""

import os
from collections.abc import Iterator
from functools import cache

_NETNS = "/run/netns"
_DEVICES = "/dev"


def cgroup2_mount() -> str:
    """Where the cgroup2 file system is mounted, or "" where it is not."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:  # noqa: PTH123 - no pathlib here
        for line in mounts:
            _, point, kind, *_ = line.split(" ")
            if kind == "cgroup2":
                return point
    return ""


def cgroup_path(number: int) -> str:
    """The directory of the cgroup with this id, below /sys/fs/cgroup."""
    known = cgroups()
    if number not in known:
        cgroups.cache_clear()  # it may have been made since
        known = cgroups()
    return known.get(number, f"cgroup {number}")


@cache
def cgroups() -> dict[int, str]:
    """The directories of all cgroups by id: the inode numbers of the directories."""
    mount = cgroup2_mount()
    if not mount:
        return {}
    return {_inode(folder): folder for folder, _, _ in os.walk(mount)}


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - no pathlib in this room
    except OSError:
        return 0


def namespace_name(inode: int) -> str:
    """A network namespace: "this namespace", the name that ip(8) gave it, or its number."""
    if inode == own_namespace():
        return "this namespace"
    named = {_inode(path): name for name, path in _named()}
    return f"netns {named.get(inode, inode)}"


def _named() -> list[tuple[str, str]]:
    try:
        names = sorted(os.listdir(_NETNS))  # noqa: PTH208 - as above
    except OSError:
        return []
    return [(name, f"{_NETNS}/{name}") for name in names]


def namespaces() -> Iterator[tuple[int, str]]:
    """Every network namespace that can be found: inode, and a path to enter it by.

    This process's own comes first.
    """
    seen: set[int] = {0}
    own = "/proc/self/ns/net"
    processes = (f"/proc/{pid}/ns/net" for pid in processes_seen())
    for path in (own, *(path for _, path in _named()), *processes):
        inode = _inode(path)
        if inode not in seen:
            seen.add(inode)
            yield inode, path


def processes_seen() -> list[int]:
    """The ids of the processes in /proc."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def own_namespace() -> int:
    """The inode of this process's network namespace."""
    return _inode("/proc/self/ns/net")


def infrared() -> list[str]:
    """The devices of infrared receivers and senders: "/dev/lirc0"."""
    try:
        names = sorted(os.listdir(_DEVICES))  # noqa: PTH208 - as above
    except OSError:
        return []
    return [f"{_DEVICES}/{name}" for name in names if name.startswith("lirc")]
