"""Make each call of an action fail, and see what is left."""

import errno
import gc
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from beewire.bpf.kernel import Link, syscall
from beewire.errors import BeewireError
from tests.systems import Faulty, descriptors, using

# Those for which something else is done or said; 524 is the kernel's ENOTSUPP.
ERRNOS = (
    *(errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOENT, errno.ENOMEM),
    *(errno.EBUSY, errno.EEXIST, errno.E2BIG, errno.ENOSPC, errno.ENODEV),
    *(errno.EMFILE, errno.EAGAIN, errno.EINTR, errno.ENOSYS, errno.EOPNOTSUPP),
    *(errno.EBADF, errno.EFAULT, errno.ESRCH, 524),
)
# For kinds that the kernel lets go of in 0.1 s only.
FEW = (errno.EPERM, errno.EINVAL, errno.ENOMEM, errno.EINTR)
ONCE, ALWAYS = 1, 10_000


@contextmanager
def nothing_left(program_id: int) -> Iterator[None]:
    """What the block does leaves no descriptor, and no link of the program."""
    before = descriptors()
    yield
    if descriptors() != before:
        gc.collect()  # what the error's traceback held
    assert descriptors() == before
    assert not program_id or links_of(program_id) == []


def links_of(program_id: int) -> list[int]:
    """The ids of the links that hold a program."""
    get_next, open_by_id, id_ = 31, 30, 0  # BPF_LINK_GET_NEXT_ID, _GET_FD_BY_ID
    found: list[int] = []
    while True:
        record = bytearray(struct.pack("=III", id_, 0, 0))
        if syscall.try_bpf(get_next, record) < 0:
            return found
        id_ = struct.unpack_from("=I", record, 4)[0]
        fd = syscall.try_bpf(open_by_id, bytearray(struct.pack("=III", id_, 0, 0)))
        if fd >= 0:
            with Link(fd, 0, "") as link:  # type: ignore[arg-type]  # of any kind
                if link.info.program_id == program_id:
                    found.append(id_)


def fail_everywhere(
    action: Callable[[], object],
    program_id: int = 0,
    errnos: tuple[int, ...] = ERRNOS,
    spared: str = "",
) -> None:
    """Do `action` with each of its calls failing, once and from then on."""
    with using(steps := Faulty()):
        action()
    assert steps.names
    gc.collect()
    for at, name in enumerate(steps.names):
        if name == spared:
            continue
        for number in errnos:
            for times in (ONCE, ALWAYS):
                if times == ALWAYS and (number == errno.EINTR or spared):
                    continue  # the first is waited for, as long as it takes
                with nothing_left(program_id), using(Faulty(at, number, times)):
                    attempt(action, f"{name} with {errno.errorcode.get(number)}")


def attempt(action: Callable[[], object], about: str) -> None:
    """It works by another way, or says what is wrong."""
    try:
        action()
    except BeewireError as error:
        text = str(error)
        assert len(text) > 20, about
        assert "\n" not in text, about
    except BaseException as error:
        error.add_note(about)
        raise


def closing(attach: Callable[[], Link]) -> Callable[[], None]:
    """Attach and detach."""

    def action() -> None:
        with attach():
            pass

    return action


def exists_soon(program_id: int) -> bool:
    """Whether a program is still there after what the kernel takes to let it go."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        record = bytearray(struct.pack("=III", program_id, 0, 0))
        fd = syscall.try_bpf(syscall.Cmd.PROG_GET_FD_BY_ID, record)
        if fd < 0:
            return False
        Link(fd, 0, "").close()  # type: ignore[arg-type]  # any descriptor
        time.sleep(0.01)
    return True
