"""Peers on the same rig: what others made, where the user has it.

merbridge (github.com/merbridge/merbridge) takes over a pod's connections where they
begin, and redirects what sockets of one node send. Its programs are not shipped here:
`--merbridge DIR` names a checkout in which `make -C bpf compile` was run. They are attached
to the pods' cgroups alone, and are told of the pods what its agent would tell them: which
there are, and in each pod who it is, by the mark of a listening socket.

Envoy has a socket interface of its own, `envoy.extensions.network.socket_interface.sockmap`,
where it was built with it. What it says itself decides whether there is something to
measure.
"""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from beewire.bpf.kernel import AnyMap, Program, attach_cgroup, attach_sockmap, load
from beewire.bpf.object import read
from beewire.errors import MeshError
from beewire.mesh.lab import Pod, Sidecar

OBJECTS = ("mb_connect.o", "mb_sockops.o", "mb_get_sockopts.o", "mb_redir.o")
HOW = "a checkout of merbridge in which `make -C bpf compile` was run"
MARK_PORT = 39807  # its SOCK_IP_MARK_PORT
FIRST_MARK = 0xBEE


class Merbridge:
    """Its programs, loaded once for all pods; they act from `start` on."""

    name = "merbridge"

    def __init__(self, directory: Path) -> None:
        self.pods: list[Pod] = []
        self.maps: dict[str, AnyMap] = {}
        self._programs: list[Program] = []
        self._stack = contextlib.ExitStack()
        try:
            for name in OBJECTS:
                self._load(directory / "bpf" / name)
            [redir] = [each for each in self._programs if _is_message(each)]
            link = attach_sockmap(redir, self.maps["sock_pair_map"])
            self._stack.enter_context(link)
        except BaseException:
            self._stack.close()
            raise

    def _load(self, path: Path) -> None:
        try:
            spec = read(path.read_bytes())
        except OSError as error:
            raise MeshError(f"{path} cannot be read: give {HOW}") from error
        shared = {name: self.maps[name] for name in spec.maps if name in self.maps}
        loaded = self._stack.enter_context(load(spec, maps=shared))
        for name, found in loaded.maps.items():
            self.maps.setdefault(name, found)
        self._programs += loaded.programs.values()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def install(self, pod: Pod) -> Iterator[None]:
        """Tell the programs of a pod; nothing is attached yet."""
        mark = FIRST_MARK + len(self.pods)
        address = ip_address(pod.address).packed
        pods, marks = self.maps["local_pod_ips"], self.maps["mark_pod_ips_map"]
        pods[_wide(address, pods.spec.key_size)] = bytes(pods.spec.value_size)
        marks[mark.to_bytes(4, "little")] = _wide(address, marks.spec.value_size)
        with pod.namespace.run(lambda: _marked(mark)):
            self.pods.append(pod)
            yield

    def start(self) -> None:
        """Attach to the pods, whose sidecars listen now: that is what it asks first."""
        for pod in self.pods:
            for program in self._programs:
                if not _is_message(program):
                    link = attach_cgroup(program, str(pod.cgroup.path))
                    self._stack.enter_context(link)


@contextlib.contextmanager
def merbridge(directory: Path | None) -> Iterator[Merbridge]:
    """merbridge as a way to intercept.

    Raises:
        MeshError: the user gave no checkout, or one without compiled programs.
        VerifierError: this kernel refuses one of them.
    """
    if directory is None:
        raise MeshError(f"give --merbridge DIR, {HOW}")
    with Merbridge(directory) as made:
        yield made


def check_accelerated(sidecars: tuple[Sidecar, ...]) -> None:
    """Check that Envoy did not fall back to the sockets of the operating system.

    Raises:
        MeshError: it did; with its own words.
    """
    for each in sidecars:
        for line in each.said().splitlines():
            if "sockmap" in line and "standard datapath" in line:
                raise MeshError(f"Envoy: {line.rpartition('] ')[2]}")


def _marked(mark: int) -> socket.socket:
    sock = socket.create_server(("0.0.0.0", MARK_PORT))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    return sock


def _wide(address: bytes, size: int) -> bytes:
    # Newer versions keep addresses in four words, IPv4 in the last of them.
    return bytes(size - len(address)) + address


def _is_message(program: Program) -> bool:
    return program.spec.kind.name == "SK_MSG"
