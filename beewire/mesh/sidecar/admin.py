"""`Admin`: Envoy's administration interface, asked from outside of its pod.

It listens on 127.0.0.1 of the pod's namespace. One connection is kept: as long as it
stands, the Envoy that answers is the same one, so that counters tell whether anything has
changed, and a whole dump is had only then.
"""

import contextlib
import re
import socket
import time
from hashlib import blake2b
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Self

from beewire.mesh.netns import visit
from beewire.mesh.sidecar.dump import Dump, parse
from beewire.mesh.sidecar.reasons import UnreadableError

ADMIN_PORT: Final = 15000  # Istio's proxyAdminPort
TIMEOUT_S: Final = 5.0
MOST_BYTES: Final = 64 << 20
_PIECE = 1 << 16
_DUMP = "/config_dump?include_eds"
# What counts changes of listeners and clusters, endpoints included (cluster_updated), and
# when they take effect: a listener that is pushed warms up before it replaces another.
# istiod has all of them kept: requiredEnvoyStatsMatcherInclusion...
_COUNTED = (
    r"^(listener_manager\.(listener_(added|modified|removed|in_place_updated|create_success)"
    r"|total_listeners_(active|warming)|lds\.(version|update_success))"
    r"|cluster_manager\.(cluster_(added|modified|removed|updated)|(active|warming)_clusters"
    r"|cds\.version))$"
)
_STATS = f"/stats?filter={_COUNTED.replace('|', '%7C').replace('^', '%5E')}"
_LINE = re.compile(rb"^[\w.]+: \d+$", re.MULTILINE)


class Admin:
    """The administration interface of one pod's Envoy; a context manager that ends it.

    `netns` is a path that names the pod's network namespace. An answer that takes longer
    than `timeout_s` or has more than `most` bytes is not read to its end.
    """

    def __init__(
        self,
        netns: Path,
        port: int = ADMIN_PORT,
        *,
        timeout_s: float = TIMEOUT_S,
        most: int = MOST_BYTES,
    ) -> None:
        self.netns = netns
        self.port = port
        self._timeout_s = timeout_s
        self._most = most
        self._http: HTTPConnection | None = None
        self._begun = 0  # connections so far

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next question makes another. Twice does nothing."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    def version(self) -> str:
        """A word that stays the same as long as the configuration does.

        It may change without need: with another connection, above all.

        Raises:
            UnreadableError: nobody answers, or no Envoy does.
        """
        told = self._get(_STATS)
        if not _LINE.search(told):
            raise UnreadableError(
                f"{self._name()} does not count changes of listeners and clusters"
            )
        return f"{self._begun}-{blake2b(told, digest_size=8).hexdigest()}"

    def dump(self) -> Dump:
        """The configuration that is in force.

        Raises:
            UnreadableError: nobody answers, too late, with too much, or with no configuration.
        """
        return parse(self.text())

    def text(self) -> bytes:
        """The configuration as Envoy tells it: JSON.

        Raises:
            UnreadableError: nobody answers, too late, or with too much.
        """
        return self._get(_DUMP)

    def _get(self, path: str) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        fresh = self._http is None
        try:
            return self._ask(path, deadline)
        except (OSError, HTTPException) as error:
            self.close()
            if fresh or isinstance(error, TimeoutError):
                raise self._failed(error) from error
        # It was closed between two questions: Envoy is another one, or was patient enough.
        try:
            return self._ask(path, deadline)
        except (OSError, HTTPException) as error:
            self.close()
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> UnreadableError:
        said = getattr(error, "strerror", None) or str(error)
        if isinstance(error, TimeoutError):
            said = f"it takes more than {self._timeout_s:g} s"
        return UnreadableError(f"{self._name()} does not answer: {said}")

    def _name(self) -> str:
        return (
            f"Envoy's administration interface, 127.0.0.1:{self.port} in {self.netns},"
        )

    def _ask(self, path: str, deadline: float) -> bytes:
        http = self._http = self._http or self._connect()
        http.sock.settimeout(max(0.001, deadline - time.monotonic()))
        http.request("GET", path)
        answer = http.getresponse()
        if answer.status != 200:
            self.close()
            raise UnreadableError(f"{self._name()} answers {answer.status} to {path}")
        pieces, size = [], 0
        while piece := answer.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > self._most:
                self.close()
                raise UnreadableError(
                    f"{self._name()} tells more than {self._most:,} bytes"
                )
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            if http.sock is not None:
                http.sock.settimeout(left)
        return b"".join(pieces)

    def _connect(self) -> HTTPConnection:
        sock = visit(self.netns, _stream)
        try:
            sock.settimeout(self._timeout_s)
            sock.connect(("127.0.0.1", self.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            with contextlib.suppress(OSError):
                sock.close()
            raise
        http = HTTPConnection("127.0.0.1", self.port)
        http.auto_open = 0
        http.sock = sock
        self._begun += 1
        return http


def _stream() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
