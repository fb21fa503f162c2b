"""Who else runs at a pod's hooks, and who comes before us.

Programs of a child cgroup run before its ancestors', so that ours, on the pod's own, see
what the application dialled, and Cilium's or Calico's, further up, what we made of it.
Two things break that: BPF_F_PREORDER on an ancestor (Linux 6.15), and a program that was
on the pod's own cgroup before us. The kernel tells no flags, but in which order it runs.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from beewire.bpf.kernel.links.query import AttachedProgram, query
from beewire.bpf.object import AttachKind
from beewire.mesh.enrol.hooks import HOOKS, Hook, Place
from beewire.mesh.enrol.pod import Pod


class Neighbour(NamedTuple):
    """Another program at the hook that is called `hook` here.

    `above` says that it is on a cgroup further up; `comes_first` that it runs before ours,
    and decides on what was dialled before we see it.
    """

    hook: str
    program: int
    name: str
    above: bool
    comes_first: bool

    def __str__(self) -> str:
        who = f"program {self.program} ({self.name or 'of a name that is not told'})"
        where = "a cgroup above" if self.above else "the pod itself"
        if not self.comes_first:
            return f"{who} on {where} runs after {self.hook}"
        why = ", attached with BPF_F_PREORDER," if self.above else ""
        return (
            f"{who} on {where}{why} runs before {self.hook}: Beewire sees what it has"
            " made of a connection, not what was dialled"
        )


def neighbours(pod: Pod, ours: Mapping[str, int]) -> list[Neighbour]:
    """The programs of others at the hooks of an enrolled pod; of what is gone, none.

    `ours` are the ids of our programs, by the names of their hooks.
    """
    found: list[Neighbour] = []
    for hook in HOOKS:
        if hook.name in ours:
            found += _at(hook, getattr(pod, hook.place.value), ours)
    return found


def _at(hook: Hook, path: Path, ours: Mapping[str, int]) -> list[Neighbour]:
    kind = hook.program.attach_kind or AttachKind.CGROUP_SOCK_OPS  # it has one hook
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        here = _programs(fd, kind)
        running = here
        if hook.place is not Place.NETNS:
            running = _programs(fd, kind, effective=True)
    finally:
        os.close(fd)
    order = [each.id for each in running]
    ours_at = order.index(ours[hook.name]) if ours[hook.name] in order else len(order)
    own = {each.id for each in here}
    return [
        Neighbour(hook.name, each.id, each.name, each.id not in own, number < ours_at)
        for number, each in enumerate(running)
        if each.id not in ours.values()
    ]


def _programs(
    fd: int, kind: AttachKind, *, effective: bool = False
) -> tuple[AttachedProgram, ...]:
    attached = query(fd, kind, effective=effective)
    return attached.programs if attached is not None else ()
