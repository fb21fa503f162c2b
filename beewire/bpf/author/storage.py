"""Local storage: values that live in sockets, tasks, files and cgroups.

    dialled = SkStorage[Endpoint]()
    started = TaskStorage[u64]()

In programs `dialled.get(ctx.sk)`, `started.get_or_create(current(task_struct))`; in user
space the key is a descriptor of the owner. A value goes with its owner.
"""

from __future__ import annotations

from beewire.bpf.author.bound import OnMap
from beewire.bpf.author.maps import Fixed, delete
from beewire.bpf.lang import Ref, Storage
from beewire.bpf.lang.decl import MapDecl
from beewire.bpf.lang.types import I32, U64, ValueType
from beewire.bpf.object.kinds import MapKind
from beewire.errors import MapError
from beewire.hints import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from os import PathLike

    from beewire.bpf.kernel.maps import HasFileno, PerCpu

    Path = str | PathLike[str]
    Owner = int | HasFileno | Path

V = TypeVar("V")

NO_PREALLOC = 1  # BPF_F_NO_PREALLOC, which the kernel demands of storage


class LocalStorage(OnMap, Storage[V]):
    """Operations that all kinds of storage share. Nobody can list the owners."""

    implied_flags = NO_PREALLOC

    def __init__(self, *, flags: int = 0, name: str = "", pinned: bool = False) -> None:
        super().__init__(0, flags=flags, name=name, pinned=pinned)

    @property
    def key(self) -> ValueType:
        """A descriptor: how user space names the owner."""
        return I32

    def __getitem__(self, owner: Owner) -> V:
        value: V = self.live[owner]
        return value

    def __setitem__(self, owner: Owner, value: V) -> None:
        self.live[owner] = value

    def __delitem__(self, owner: Owner) -> None:
        del self.live[owner]

    def __contains__(self, owner: object) -> bool:
        return owner in self.live

    @overload
    def get(self: LocalStorage[int], owner: object) -> Ref[int] | None: ...
    @overload
    def get(self, owner: object) -> V | None: ...
    def get(self, owner: object) -> Any:
        """In programs: a reference to the value that `owner` holds, or None."""
        del owner
        self.in_programs("get", f"{self.name or 'state'}[owner]")

    @overload
    def get_or_create(self: LocalStorage[int], owner: object) -> Ref[int] | None: ...
    @overload
    def get_or_create(self, owner: object) -> V | None: ...
    def get_or_create(self, owner: object) -> Any:
        """In programs: as `get`, making a zero value first; None without memory."""
        del owner
        self.in_programs("get_or_create", f"{self.name or 'state'}[owner] = value")

    def delete(self, owner: object) -> int:
        """Forget the value that `owner` holds: 0, or -ENOENT (-2)."""
        return delete(self.live, owner)


class SkStorage(LocalStorage[V]):
    """A value in each socket that has one (Linux 5.2).

    In programs `state.get(ctx.sk)` and `state.get_or_create(ctx.sk)`; in user space the
    key is a socket of this process, or its descriptor.
    """

    kind = MapKind.SK_STORAGE


class TaskStorage(LocalStorage[V]):
    """A value in each thread that has one (Linux 5.11).

    In programs `state.get(current(task_struct))`; in user space the key is a pidfd
    (`os.pidfd_open`).
    """

    kind = MapKind.TASK_STORAGE


class InodeStorage(LocalStorage[V]):
    """A value in each file that has one, for LSM programs (Linux 5.10).

    In user space the key is an open file, its descriptor, or its path.
    """

    kind = MapKind.INODE_STORAGE


class CgroupStorage(LocalStorage[V]):
    """A value in each cgroup that has one (`BPF_MAP_TYPE_CGRP_STORAGE`, Linux 6.2).

    In user space the key is the path of the cgroup's directory, or a descriptor of it.
    """

    kind = MapKind.CGRP_STORAGE


class AttachedStorage(Fixed[int, V], MapDecl):
    """A value for each cgroup that a program is attached to, for cgroup programs.

    `BPF_MAP_TYPE_CGROUP_STORAGE` (Linux 4.19; shared by attach kinds since 5.9). It is
    there as long as a program is attached; in user space the key is the cgroup's path, or its
    id, which is its directory's inode. Use CgroupStorage where Linux 6.2 will do.
    """

    kind = MapKind.CGROUP_STORAGE
    parameters = ("value",)
    operations = frozenset({"here"})
    lowering = "storage"

    def __init__(self, *, flags: int = 0, name: str = "") -> None:
        super().__init__(0, flags=flags, name=name)

    @property
    def key(self) -> ValueType:
        """The id of a cgroup."""
        return U64

    @overload
    def here(self: AttachedStorage[int]) -> Ref[int]: ...
    @overload
    def here(self) -> V: ...
    def here(self) -> Any:
        """In programs: the value of the cgroup that the program is attached to."""
        self.in_programs("here", f"{self.name or 'state'}[cgroup_id]")

    def __getitem__(self, cgroup: int | Path) -> V:
        value: V = self.live[_cgroup_id(cgroup)]
        return value

    def __setitem__(self, cgroup: int | Path, value: V) -> None:
        self.live[_cgroup_id(cgroup)] = value

    def __contains__(self, cgroup: object) -> bool:
        return _cgroup_id(cgroup) in self.live


def _cgroup_id(cgroup: object) -> object:
    """What the kernel calls a cgroup that is given by its path."""
    import os  # noqa: PLC0415 - after attaching

    if not isinstance(cgroup, str | os.PathLike):
        return cgroup
    try:
        return os.stat(cgroup).st_ino  # noqa: PTH116 - no pathlib here
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise MapError(f"the cgroup {os.fspath(cgroup)}: {why}") from None


class PerCpuAttachedStorage(AttachedStorage[V]):
    """As AttachedStorage, with a value for each CPU (Linux 4.20)."""

    kind = MapKind.PERCPU_CGROUP_STORAGE

    if TYPE_CHECKING:

        def __getitem__(self, cgroup: int | Path) -> PerCpu[V]:  # type: ignore[override]
            """One value for each CPU."""
