"""`Reader`: what one sidecar says, read again whenever that has changed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from beewire.mesh.sidecar.admin import ADMIN_PORT, Admin
from beewire.mesh.sidecar.dump import Dump
from beewire.mesh.sidecar.reasons import UnreadableError

_TRIES = 3  # a dump and its version are two answers, between which it may change


class Reading(NamedTuple):
    """What a sidecar said; `dump` is None, and `problem` says why, where it could not be had.

    `since` is when that became so, by CLOCK_MONOTONIC in seconds.
    """

    dump: Dump | None
    problem: str
    since: float


class Reader:
    """Reads one sidecar; a context manager that ends its connection.

    `check` is called before anything is asked: it raises UnreadableError where whoever
    answers is not the sidecar.
    """

    def __init__(
        self,
        netns: Path,
        port: int = ADMIN_PORT,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._admin = Admin(netns, port)
        self._check = check
        self._version = ""
        self._reading = Reading(None, "it was not read yet", time.monotonic())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. Closing twice does nothing."""
        self._admin.close()

    def read(self) -> Reading:
        """What it says: the same object as long as nothing has changed."""
        try:
            self._check()
            version = self._admin.version()
            if version != self._version:
                self._version, dump = self._settled(version)
                self._reading = Reading(dump, "", time.monotonic())
        except UnreadableError as error:
            self._version = ""
            if self._reading.problem != str(error):
                before = self._reading
                since = time.monotonic() if before.dump is not None else before.since
                self._reading = Reading(None, str(error), since)
        return self._reading

    def _settled(self, version: str) -> tuple[str, Dump]:
        """A dump, and the version that was told before and after it.

        Raises:
            UnreadableError: it cannot be had, or changes all the time.
        """
        for _ in range(_TRIES):
            dump = self._admin.dump()
            before, version = version, self._admin.version()
            if version == before:
                return version, dump
        raise UnreadableError("its configuration changes faster than it can be read")
