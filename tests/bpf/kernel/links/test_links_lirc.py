"""Decoders on infrared receivers: on the seam, for few kernels can run them."""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import attach, attach_lirc, attr, places
from beewire.bpf.kernel.inspection import attachments
from beewire.bpf.kernel.links import detach
from beewire.bpf.kernel.links.info import DeviceInfo
from beewire.bpf.kernel.program import Program
from beewire.bpf.kernel.syscall import Cmd
from beewire.bpf.object import AttachKind, ProgramKind, ProgramSpec
from beewire.errors import AttachError, NotPermitted
from tests.systems import Absent, memory, using

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter


class Receiver(Absent):
    """A kernel with one infrared receiver: it keeps what is attached."""

    __slots__ = ("attached", "refuses")

    def __init__(self, refuses: int = 0) -> None:
        super().__init__()
        self.attached: list[str] = []
        self.refuses = refuses
        self.say(Cmd.PROG_ATTACH, self._attach)
        self.say(Cmd.PROG_DETACH, self._detach)
        self.say(Cmd.PROG_QUERY, self._query)

    def _attach(self, record: memoryview) -> int:
        fields = attr.PROG_ATTACH.unpack(bytes(record))
        assert fields["attach_type"] == AttachKind.LIRC_MODE2
        assert not fields["attach_flags"]
        if self.refuses:
            return -self.refuses
        target = attr.PROG_ATTACH.integer(bytearray(record), "target_fd")
        self.attached.append(Path(f"/proc/self/fd/{target}").readlink().name)
        return 0

    def _detach(self, _record: memoryview) -> int:
        self.attached.pop()
        return 0

    def _query(self, record: memoryview) -> int:
        fields = attr.PROG_QUERY.unpack(bytes(record))
        assert fields["attach_type"] == AttachKind.LIRC_MODE2
        numbers = range(7, 7 + len(self.attached))
        place = int(fields["prog_ids"])
        for at, number in enumerate(numbers):
            memory(place + 4 * at, 4)[:] = struct.pack("=I", number)
        at = attr.PROG_QUERY.offsets()["prog_cnt"]
        record[at : at + 4] = struct.pack("=I", len(numbers))
        return 0


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is opened as the device."""
    path = tmp_path / "lirc0"
    path.touch()
    monkeypatch.setattr(places, "_DEVICES", str(tmp_path))
    return str(path)


@pytest.fixture
def decoder() -> Iterator[Program]:
    spec = ProgramSpec(
        "decoder", kind=ProgramKind.LIRC_MODE2, section="lirc_mode2", insns=()
    )
    with Program(os.open(os.devnull, os.O_RDONLY), spec) as program:
        yield program


def test_a_device_holds_the_program_until_the_link_is_closed(
    device: str, decoder: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beewire.bpf.kernel.links.direct.program_id", lambda _: 7)

    with using(system := Receiver()):
        with attach(decoder, device) as link:
            during = [*system.attached]
            info = link.info
        after = [*system.attached]

    assert (during, after) == (["lirc0"], [])
    assert link.kind == "lirc.attach"
    assert isinstance(info, DeviceInfo)
    assert info.path == device


def test_what_is_attached_is_found_and_taken_off(device: str, decoder: Program) -> None:
    with using(system := Receiver()):
        os.close(attach_lirc(decoder, device).release())
        found = list(attachments.on_receivers({"LIRC_MODE2"}))
        taken = detach.lirc(device)

    assert [(number, at.kind, at.target) for number, at in found] == [
        (7, "lirc_mode2", device)
    ]
    assert taken == [7]
    assert system.attached == []


REFUSED = {
    errno.EINVAL: (AttachError, "no infrared receiver that tells raw pulses"),
    errno.EEXIST: (AttachError, "another program is there already"),
    errno.EPERM: (NotPermitted, "cannot attach 'decoder' to"),
}


@pytest.mark.parametrize("number", REFUSED)
def test_what_the_kernel_refuses_is_told(
    device: str, decoder: Program, number: int
) -> None:
    error, message = REFUSED[number]

    with using(Receiver(refuses=number)), pytest.raises(error, match=message):
        attach_lirc(decoder, device)


def test_a_device_that_is_not_there_is_told(decoder: Program) -> None:
    with pytest.raises(AttachError, match="no infrared device /dev/bw-lirc: no such"):
        attach_lirc(decoder, "/dev/bw-lirc")


@pytest.mark.kernel
def test_other_programs_are_refused(counter: "Callable[..., Counter]") -> None:
    count = counter(ProgramKind.XDP)

    with pytest.raises(AttachError, match=r"'count' \(xdp\) is not for infrared"):
        attach_lirc(count.program, "/dev/lirc0")
