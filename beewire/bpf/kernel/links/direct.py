"""Attachments that the kernel has no link for: they stay when their process dies.

The modern kernel has a bpf_link instead of most of them. What is left is found by
`beewire ps`, and taken off by what `beewire.bpf.kernel.links.detach` has.
"""

import errno
import os

from beewire.bpf.kernel import syscall
from beewire.bpf.kernel.links.base import Link
from beewire.bpf.kernel.program import Program
from beewire.errors import NotSupported
from beewire.hints import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from beewire.bpf.kernel.links.info import LinkInfo


class DirectLink(Link):
    """A program at a hook that holds it by itself; `close` takes it off.

    It owns a descriptor of the program: where another program took the place meanwhile,
    that one stays. `release` leaves the program attached, for good.
    """

    __slots__ = ("_held_open", "_replace", "_take_off", "_tell")

    def __init__(  # noqa: PLR0913 - the life of an attachment
        self,
        program: Program,
        kind: str,
        description: str,
        *,
        put: Callable[[], None],
        take_off: Callable[[int], None],
        replace: Callable[[Program, int], None] | None = None,
        tell: "Callable[[int], LinkInfo]",
        held_open: "tuple[Callable[[], object], ...]" = (),
    ) -> None:
        self._held_open = held_open  # what closes what it keeps open
        # What can fail comes before what would have to be undone: `put` attaches.
        try:
            super().__init__(syscall.duplicate(program.fd), kind, description)
        except BaseException:
            self._let_go()
            raise
        self._take_off: Callable[[int], None] = _nothing
        self._replace = replace  # that program by another
        self._tell = tell
        try:
            put()
        except BaseException:
            self.close()
            raise
        self._take_off = take_off  # of the program with this descriptor

    def close(self) -> None:
        """Take the program off. Closing twice does nothing."""
        if self.closed:
            return
        try:
            self._take_off(self.fd)
        finally:
            self._let_go()
            super().close()

    def release(self) -> int:
        """Leave the program attached; a descriptor of it, which the caller closes."""
        self._let_go()
        return super().release()

    def _let_go(self) -> None:
        kept, self._held_open = self._held_open, ()
        for close in kept:
            close()

    def detach(self) -> None:
        """End the attachment; the same as `close`."""
        self.close()

    def update(self, program: Program) -> None:
        """Put `program` in the place of the present one, without a gap.

        Raises:
            NotSupported: this way of attaching cannot.
            KernelError: the program is of another kind.
        """
        if self._replace is None:
            what = f"another program in the place of {self.description}"
            raise NotSupported(
                errno.EOPNOTSUPP, f"{what}: close it, and attach the other"
            )
        own = syscall.duplicate(program.fd)
        try:
            self._replace(program, self.fd)
        except BaseException:
            os.close(own)
            raise
        os.close(self._fd)
        self._fd = own

    def pin(self, path: str) -> None:
        """Refused: what has no link stays attached without a pin."""
        raise NotSupported(
            errno.EOPNOTSUPP,
            f"pinning {self.description} at {path}: attached by {self.kind} it is no "
            "link; release() it, and it stays until it is detached",
        )

    @property
    def info(self) -> "LinkInfo":
        """What is known of it: of kind UNSPEC, for there is no link."""
        return self._tell(program_id(self.fd))


def _nothing(_program: int) -> None:
    """What is to be taken off where nothing was attached."""


def program_id(fd: int) -> int:
    """The id of a program."""
    from beewire.bpf.kernel.info import program_info  # noqa: PLC0415 - rare

    return program_info(fd).id
