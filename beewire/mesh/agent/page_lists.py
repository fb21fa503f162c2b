"""Where each CPU's list of free pages is long, large bodies by the short path are dear.

Who writes takes pages, and who reads gives them back: to the list of the reader's CPU, which
keeps them until it overflows. Then its oldest ones go to the writer, and are in no cache.
Since Linux 6.7 these lists grow by themselves, unless somebody has set how long they may be:
`vm.percpu_pagelist_high_fraction`, all CPUs' lists to a zone's memory (since Linux 5.14).
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.errors import MeshError
from beewire.mesh.agent.directories import Directories

NAME = "vm.percpu_pagelist_high_fraction"
SHORT = 8000
_MOST = 32 << 20  # bytes: what is no longer fits a cache
_GROWS_TO = re.compile(r"^\s*high_max:\s*(\d+)", re.MULTILINE)


class PageLists(NamedTuple):
    """This machine's lists, as the kernel tells and takes it."""

    zones: Path = Path("/proc/zoneinfo")
    fraction: Path = Path("/proc/sys/vm/percpu_pagelist_high_fraction")

    def longest(self) -> int:
        """How many bytes the longest one may get, where they grow; 0 where they do not."""
        found = map(int, _GROWS_TO.findall(self.zones.read_text()))
        return max(found, default=0) * os.sysconf("SC_PAGE_SIZE")

    def advice(self) -> list[str]:
        """What to tell who runs the machine: nothing, or a sentence."""
        if (longest := self.longest()) <= _MOST:
            return []
        told = (
            f"a CPU's list of free pages may grow to {longest >> 20:,} MB here, and bodies"
            " of a megabyte take as much CPU time by the short path as by TCP then, or"
            f" more: `sysctl -w {NAME}={SHORT}`, or `beewire agent --short-page-lists`,"
            " keeps it short"
        )
        return [told]

    def shorten(self) -> bool:
        """Keep them short, unless they are, or somebody has said how long; whether it was done.

        Raises:
            MeshError: It cannot be set.
        """
        if self.longest() <= _MOST or self._said() != "0":
            return False
        try:
            self.fraction.write_text(f"{SHORT}\n")
        except OSError as error:
            raise MeshError(
                f"{NAME} cannot be set to {SHORT}: {error.strerror}; lists of free pages"
                " may grow"
            ) from error
        return True

    def put_back(self) -> None:
        """Let them grow again, unless somebody has said otherwise meanwhile."""
        if self._said() == str(SHORT):
            self.fraction.write_text("0\n")

    def _said(self) -> str:
        try:
            return self.fraction.read_text().strip()
        except FileNotFoundError:
            return ""


def keep_short(directories: Directories, log: Callable[[str], None]) -> None:
    """Keep the machine's lists short until Beewire is uninstalled; the agent's log is told."""
    try:
        if PageLists().shorten():
            _mark(directories).touch(mode=0o600)
            log(f"lists of free pages are short from now on: {NAME}={SHORT}")
    except MeshError as error:
        log(str(error))


def give_back(directories: Directories) -> None:
    """Let them grow again, if the agent had shortened them."""
    if _mark(directories).exists():
        PageLists().put_back()


@contextlib.contextmanager
def kept_short() -> Iterator[None]:
    """Keep the machine's lists short for as long as the block takes.

    Raises:
        MeshError: It cannot be set.
    """
    was_done = PageLists().shorten()
    try:
        yield
    finally:
        if was_done:
            PageLists().put_back()


def _mark(directories: Directories) -> Path:
    return directories.run / "page_lists"
