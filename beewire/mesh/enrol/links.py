"""The links of one pod: kept by this process, or pinned beyond it."""

import contextlib
from pathlib import Path
from typing import Self

from beewire.bpf.kernel import Link, Program
from beewire.errors import KernelError, MeshError
from beewire.mesh.enrol.hooks import HOOKS


class Links:
    """Links by the names of their hooks.

    With `pins`, a directory on a bpffs, each is pinned there and its descriptor closed, so
    that a thousand pods take none. Without, they live in this process.
    """

    def __init__(self, pins: Path | None) -> None:
        self.pins = pins
        self._held: dict[str, Link] = {}

    @classmethod
    def made(cls, pins: Path | None) -> Self:
        """No links yet; `pins` is made, with mode 0700.

        Raises:
            MeshError: It is there already, or cannot be made.
        """
        if pins is not None:
            try:
                pins.mkdir(mode=0o700)
            except OSError as error:
                raise MeshError(
                    f"the directory {pins} for a pod's links cannot be made:"
                    f" {error.strerror}"
                ) from error
        return cls(pins)

    @classmethod
    def found(cls, pins: Path) -> Self:
        """Those that are pinned in `pins`, which need not be there."""
        return cls(pins)

    def prepare(self) -> None:
        """Make the directory anew that somebody who was killed had removed already."""
        if self.pins is not None:
            self.pins.mkdir(mode=0o700, exist_ok=True)

    def add(self, name: str, link: Link) -> None:
        """Keep a link, which is ours from now on.

        Raises:
            KernelError: It cannot be pinned; it is closed, which detaches it.
        """
        if self.pins is None:
            self._held[name] = link
            return
        with link:
            link.pin(f"{self.pins}/{name}")

    def has(self, name: str) -> bool:
        """Whether there is a link of this name."""
        if self.pins is None:
            return name in self._held
        return (self.pins / name).exists()

    def update(self, name: str, program: Program) -> None:
        """Put another program in the place of a link's, without a gap.

        Raises:
            KernelError: There is no such link.
        """
        if self.pins is None:
            self._held[name].update(program)
            return
        with Link.from_pin(str(self.pins / name)) as link:
            link.update(program)

    def programs(self) -> dict[str, int]:
        """The ids of the programs that run, by the names of their hooks."""
        if self.pins is None:
            return {name: link.info.program_id for name, link in self._held.items()}
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for path in self.pins.iterdir():
                with Link.from_pin(str(path)) as link:
                    found[path.name] = link.info.program_id
        return found

    def remove(self, name: str) -> None:
        """Detach one. Doing it twice does nothing."""
        if self.pins is None:
            if (link := self._held.pop(name, None)) is not None:
                link.close()
        elif self.has(name):
            unpin(self.pins / name)

    def close(self) -> None:
        """Detach all of them, the last one first, and remove their pins."""
        while self._held:
            self._held.popitem()[1].close()
        if self.pins is None:
            return
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.pins.iterdir(), key=_last_attached_first):
                unpin(path)
            self.pins.rmdir()


def unpin(path: Path) -> None:
    """Detach the link that is pinned there, and remove its pin; neither need be there."""
    with contextlib.suppress(KernelError), Link.from_pin(str(path)) as link:
        link.detach()
    path.unlink(missing_ok=True)


def _last_attached_first(path: Path) -> int:
    names = [hook.name for hook in HOOKS]
    return -names.index(path.name) if path.name in names else 1
