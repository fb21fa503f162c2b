"""Every refusal of the kernel, without one: these tests need no privilege."""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Builder, Func, FuncProto, Int, Member, Param, Ptr, Struct
from beewire.bpf.btf.core import CoreKind
from beewire.bpf.kernel import Target, attr, load, syscall
from beewire.bpf.kernel.syscall import Cmd
from beewire.bpf.object import (
    CoreRelo,
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
)
from beewire.errors import KernelError, NotPermitted, NotSupported, VerifierError
from tests.systems import (
    Absent,
    descriptors,
    descriptors_before,
    logs,
    memory,
    nothing,
    using,
)

HITS = MapSpec("hits", kind=MapKind.HASH, key_size=4, value_size=8, max_entries=4)
REFUSAL = b"0: (b7) r0 = 0\nR0 !read_ok\nprocessed 1 insns\n"

pytestmark = pytest.mark.host


@pytest.fixture
def absent() -> Iterator[Absent]:
    system = Absent()
    with using(system):
        yield system


@pytest.fixture
def spec() -> ObjectSpec:
    found = ObjectSpec("test")
    insns = (isa.mov_imm(0, 0), isa.exit_insn())
    found.programs["p"] = ProgramSpec(
        "p", kind=ProgramKind.XDP, section="xdp", insns=insns
    )
    found.maps["hits"] = HITS
    return found


def refused(spec: ObjectSpec) -> KernelError:
    """The error of a load, which leaves no descriptor."""
    before = descriptors_before()
    with pytest.raises(KernelError) as caught:
        load(spec)
    assert descriptors() == before
    return caught.value


def test_an_object_is_loaded_without_a_kernel(absent: Absent, spec: ObjectSpec) -> None:
    before = descriptors_before()

    with load(spec) as loaded:
        assert set(loaded.programs) == {"p"}

    assert absent.calls == [Cmd.MAP_CREATE, Cmd.PROG_LOAD]
    assert descriptors() == before


@pytest.mark.parametrize("cmd", [Cmd.MAP_CREATE, Cmd.PROG_LOAD])
def test_eperm_is_a_lack_of_permission(
    absent: Absent, spec: ObjectSpec, cmd: Cmd
) -> None:
    absent.say(cmd, -errno.EPERM)

    error = refused(spec)

    assert isinstance(error, NotPermitted)
    assert error.command == cmd.name


@pytest.mark.parametrize("cmd", [Cmd.MAP_CREATE, Cmd.PROG_LOAD])
def test_a_kernel_without_bpf_is_told(
    absent: Absent, spec: ObjectSpec, cmd: Cmd
) -> None:
    absent.say(cmd, -errno.ENOSYS)

    error = refused(spec)

    assert isinstance(error, NotSupported)
    assert "CONFIG_BPF_SYSCALL" in str(error)


def test_a_map_that_is_too_large_says_what_was_asked_for(
    absent: Absent, spec: ObjectSpec
) -> None:
    absent.say(Cmd.MAP_CREATE, -errno.E2BIG, nothing)

    error = refused(spec)

    assert error.errno == errno.E2BIG
    assert "max_entries=4" in error.__notes__[0]


@pytest.mark.parametrize("failures", [1, 4])
def test_a_load_that_a_signal_disturbs_is_tried_five_times(
    absent: Absent, spec: ObjectSpec, failures: int
) -> None:
    absent.say(Cmd.PROG_LOAD, *[-errno.EAGAIN] * failures, nothing)

    load(spec).close()

    assert absent.calls.count(Cmd.PROG_LOAD) == failures + 1


def test_a_load_that_is_always_disturbed_ends(absent: Absent, spec: ObjectSpec) -> None:
    absent.say(Cmd.PROG_LOAD, -errno.EAGAIN)

    error = refused(spec)

    assert error.errno == errno.EAGAIN
    assert absent.calls.count(Cmd.PROG_LOAD) == 10  # five of them with a log


@pytest.mark.parametrize("cmd", [Cmd.MAP_CREATE, Cmd.PROG_LOAD])
def test_an_interrupted_call_is_made_again(
    absent: Absent, spec: ObjectSpec, cmd: Cmd
) -> None:
    absent.say(cmd, *[-errno.EINTR] * 20, nothing)

    load(spec).close()

    assert absent.calls.count(cmd) == 21


def test_a_handler_that_raises_ends_a_call_that_is_made_again(
    absent: Absent, spec: ObjectSpec
) -> None:
    class Stop(Exception):  # noqa: N818 - no error
        pass

    def stop(*_: object) -> None:
        raise Stop

    def interrupt(_: memoryview) -> int:
        os.kill(os.getpid(), signal.SIGUSR1)
        return -errno.EINTR

    absent.say(Cmd.PROG_LOAD, interrupt)
    before, handler = descriptors_before(), signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(Stop):
            load(spec)
    finally:
        signal.signal(signal.SIGUSR1, handler)

    assert descriptors() == before


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("length", [100, 1 << 20, (1 << 20) + 1, 40 << 20])
def test_a_log_of_any_length_is_read_whole(
    absent: Absent, spec: ObjectSpec, length: int, tells: bool
) -> None:
    text = b"; " + b"x" * length + b"\n" + REFUSAL
    absent.say(Cmd.PROG_LOAD, logs(text, errno.EACCES, tells=tells))

    error = refused(spec)

    assert isinstance(error, VerifierError)
    assert len(error.log) == len(text)
    assert "R0 !read_ok" in str(error)
    assert error.errno == errno.EACCES


def test_a_kernel_that_tells_the_length_is_asked_once_more_only(
    absent: Absent, spec: ObjectSpec
) -> None:
    text = b"; " + b"x" * (40 << 20) + b"\n" + REFUSAL
    absent.say(Cmd.PROG_LOAD, logs(text, errno.EACCES, tells=True))

    refused(spec)

    assert absent.calls.count(Cmd.PROG_LOAD) == 3  # without a log, cut, whole


def test_a_log_that_never_fits_gives_no_verdict(
    absent: Absent, spec: ObjectSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beewire.bpf.kernel.log_buffer.LARGEST", 1 << 21)
    text = b"R0 of another function\n" * (1 << 20) + REFUSAL
    absent.say(Cmd.PROG_LOAD, logs(text, errno.EACCES, tells=False))

    error = refused(spec)

    assert isinstance(error, VerifierError)
    assert error.errno == errno.EACCES  # of the run without a log
    assert "longer than the" in str(error)
    assert "R0 of another" not in str(error)


def test_a_program_that_passes_the_second_time_is_loaded(
    absent: Absent, spec: ObjectSpec
) -> None:
    absent.say(Cmd.PROG_LOAD, -errno.ENOMEM, -errno.ENOSPC, nothing)

    load(spec).close()


def types_refused(record: memoryview) -> int:
    """BPF_BTF_LOAD of a kernel with a lot to say."""
    fields = attr.BTF_LOAD.unpack(bytes(record))
    size, place = fields["btf_log_size"], fields["btf_log_buf"]
    assert isinstance(size, int)
    assert isinstance(place, int)
    text = b"[1] INT int size=4\n" * 50_000 + b"[2] bad name\n"
    memory(place, min(size, len(text)))[:] = text[:size]
    return -errno.EINVAL if len(text) < size or not size else -errno.ENOSPC


@pytest.fixture
def typed(spec: ObjectSpec) -> ObjectSpec:
    """With a program that reads a field of the kernel by name."""
    number = Int("int", 4, signed=True)
    task = Struct("task_struct", 4)
    task.members = (Member("tgid", number, 0),)
    spec.programs["p"].signature = Func(
        "p", FuncProto(number, (Param("ctx", Ptr(None)),))
    )
    spec.programs["p"].core_relos = (
        CoreRelo(0, task, "0:0", CoreKind.FIELD_BYTE_OFFSET),
    )
    return spec


def test_types_that_are_refused_tell_why_in_full(
    absent: Absent, typed: ObjectSpec
) -> None:
    absent.say(Cmd.BTF_LOAD, types_refused)

    error = refused(typed)

    assert error.command == "BTF_LOAD"
    assert error.__notes__[0].endswith("[2] bad name")


def test_core_is_applied_here_where_the_kernel_does_not_know_it(
    absent: Absent, typed: ObjectSpec, tmp_path: Path
) -> None:
    types = Builder()
    there = Struct("task_struct", 64)
    there.members = (Member("tgid", Int("int", 4, signed=True), 8 * 40),)
    types.add(there)
    (tmp_path / "btf").write_bytes(types.encode())
    seen = []

    def short(record: memoryview) -> int:
        # As kernels before 5.17: what they do not know of the attr has to be zero.
        known = attr.PROG_LOAD.offsets()["core_relo_cnt"]
        if any(record[known:]):
            return -errno.E2BIG
        fields = attr.PROG_LOAD.unpack(bytes(record))
        place = fields["insns"]
        assert isinstance(place, int)
        seen.append(int.from_bytes(memory(place + 4, 4), "little"))
        return nothing(record)

    absent.say(Cmd.PROG_LOAD, short)

    load(typed, target=Target(str(tmp_path / "btf"))).close()

    assert seen == [40]


def test_nothing_is_asked_of_the_system_after_it_is_taken_away() -> None:
    system = Absent()
    with using(system):
        pass

    assert syscall.try_bpf(Cmd.MAP_CREATE, bytearray(4)) < 0
    assert system.calls == []
