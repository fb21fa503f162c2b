"""What is known of each enrolled pod, as small files beside the pins."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from beewire.errors import MeshError
from beewire.mesh.agent.directories import Directories

CLOSED, ENROLLED = "closed", "enrolled"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/@-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """One pod. `id` is its network namespace's cookie in decimal, as its pins are named.

    While `state` is "closed" the namespace is shut and the pod's cgroups are not known
    yet. `older` are the cookies of the TCP sockets that were connected before the pod was
    enrolled, `closed` how many of such were ended. `shadow` says that Istio's rules act in it. `cut_over_at` is when Beewire took
    over from them (0: it did not), and `redirected` are the cookies of the sockets that
    the rules had brought to the sidecar until then; `finishing` says that some of the rules
    may be removed. `named` are addresses that were given,
    among all. `network`, `sandbox` and `interface` are CNI's names for the attachment.
    `config` is the text of the Beewire file that it is configured by.
    """

    id: str
    name: str
    state: str
    netns: str
    netns_inode: int
    cgroup: str = ""
    cgroup_id: int = 0
    proxy_cgroup: str = ""
    proxy_cgroup_id: int = 0
    addresses: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    config: str = ""
    enrolled_at: float = 0.0
    older: tuple[int, ...] = ()
    closed: int = 0
    shadow: bool = False
    cut_over_at: float = 0.0
    redirected: tuple[int, ...] = ()
    finishing: bool = False
    network: str = ""
    sandbox: str = ""
    interface: str = ""
    uid: str = ""

    def but(self, **changes: object) -> "PodRecord":
        """The same with other values in some fields."""
        return replace(self, **changes)  # type: ignore[arg-type]  # by name

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return {name: getattr(self, name) for name in _FIELDS}


_SEQUENCES = ("addresses", "named", "older", "redirected")
_FIELDS = {field.name: None for field in fields(PodRecord)}


def check_name(name: str) -> str:
    """`name`, if a pod may be called so.

    Raises:
        MeshError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise MeshError(
            f"{name!r} names no pod: letters, digits and . _ / @ - in between, up to 253"
        )
    return name


def write(node: Directories, record: PodRecord) -> None:
    """Keep a record; nobody sees half of it, whatever happens meanwhile."""
    path = node.record(record.id)
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:  # all of it, or an error
        file.write(json.dumps(record.to_json()).encode())
    fresh.rename(path)


def read(path: Path) -> PodRecord:
    """The record at `path`.

    Raises:
        MeshError: it is no record.
        FileNotFoundError: there is none.
    """
    text = path.read_bytes()
    try:
        return from_json(json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise MeshError(f"{path} is no record of a pod: remove it") from error


def from_json(found: dict[str, Any]) -> PodRecord:
    """The record that `to_json` told, of this version or of a later one.

    Raises:
        TypeError: it is none.
    """
    found = {name: value for name, value in found.items() if name in _FIELDS}
    sequences = {name: tuple(found.get(name, ())) for name in _SEQUENCES}
    return PodRecord(**{**found, **sequences})


def remove(node: Directories, pod_id: str) -> None:
    """Forget a pod; it need not be known."""
    node.record(pod_id).unlink(missing_ok=True)


def every(node: Directories) -> Iterator[PodRecord]:
    """All records that can be read, in the order of their names."""
    found = []
    for path in (node.run / "pods").glob("*.json"):
        # A broken one is told, and removed, by adopt.
        with contextlib.suppress(FileNotFoundError, MeshError):
            found.append(read(path))
    yield from sorted(found, key=lambda record: record.name)


def find(node: Directories, name: str) -> PodRecord | None:
    """The pod with this name, id, UID or sandbox; None if there is none.

    Raises:
        MeshError: several are called so.
    """
    with contextlib.suppress(FileNotFoundError):
        if name.isdigit():
            return read(node.record(name))
    found = [
        record
        for record in every(node)
        if name in (record.id, record.name, record.uid, record.sandbox)
        or record.name.endswith(f"/{name}")
    ]
    if len(found) > 1:
        ids = ", ".join(record.id for record in found)
        raise MeshError(f"several pods are called {name!r}: use an id ({ids})")
    return found[0] if found else None


def get(node: Directories, name: str) -> PodRecord:
    """As `find`.

    Raises:
        MeshError: there is none.
    """
    found = find(node, name)
    if found is None:
        raise MeshError(
            f"no pod is called {name!r} here: `beewire mesh list` shows those that are"
        )
    return found
