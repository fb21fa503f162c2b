import os
import select
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from beewire.bpf import isa
from beewire.bpf.isa import AluOp, Insn, JumpOp, Size
from beewire.bpf.kernel import Decoding, Loaded, Program, RingReader
from beewire.bpf.object import (
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
    Relocation,
    RelocationKind,
)
from beewire.errors import MapError

pytestmark = pytest.mark.kernel

KTIME, OUTPUT, RESERVE, SUBMIT, DISCARD = 5, 130, 131, 132, 133
RING_BYTES = 4096
NUMBER_BYTES = 8

Read = RingReader[int]
LoadRing = Callable[..., tuple[Program, Read]]


@pytest.fixture
def load_ring(
    make_program: Callable[..., ProgramSpec],
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
) -> Iterator[LoadRing]:
    """A program over a ring, and a reader of numbers; slot 0 gets the ring."""
    readers: list[Read] = []

    def make(*insns: Insn, slot: int = 0) -> tuple[Program, Read]:
        program = make_program(
            *insns, relocations=(Relocation(slot, RelocationKind.MAP, "ring"),)
        )
        ring = MapSpec("ring", kind=MapKind.RINGBUF, max_entries=RING_BYTES)
        loaded = load_now(make_object(program, ring))
        reader = RingReader(
            loaded.maps["ring"], lambda data: int.from_bytes(data, "little")
        )
        readers.append(reader)
        return loaded.programs["program"], reader

    yield make
    for reader in readers:
        reader.close()


# r0 = bpf_ringbuf_output(ring, the packet's first 8 bytes, ...); 0 if it did not fit.
SEND = (
    isa.ld_imm64(6, 0),
    isa.load(Size.W, 2, 1, 0),
    isa.load(Size.W, 3, 1, 4),
    isa.mov_reg(4, 2),
    isa.alu_imm(AluOp.ADD, 4, 8),
    isa.mov_imm(0, 1),
    isa.jump_reg(JumpOp.JGT, 4, 3, 9),
    isa.load(Size.DW, 5, 2, 0),
    isa.store_reg(Size.DW, 10, -8, 5),
    isa.mov_reg(1, 6),
    isa.mov_reg(2, 10),
    isa.alu_imm(AluOp.ADD, 2, -8),
    isa.mov_imm(3, 8),
    isa.mov_imm(4, 0),
    isa.call_helper(OUTPUT),
    isa.alu_imm(AluOp.AND, 0, 1),
    isa.exit_insn(),
)


def send(program: Program, number: int) -> bool:
    """Whether the number fitted into the ring."""
    packet = number.to_bytes(NUMBER_BYTES, "little") + bytes(56)
    return program.test_run(packet).retval == 0


def test_records_arrive_in_order(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    for number in (5, 6, 7):
        send(program, number)

    assert reader.read() == [5, 6, 7]
    assert reader.read() == []


def test_reading_gives_the_room_back_and_wraps_around(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    found: list[int] = []

    for number in range(2_000):
        assert send(program, number)
        if number % 100 == 99:
            found += reader.read()

    assert found == list(range(2_000))
    assert reader.waiting_bytes == 0


def test_a_full_ring_refuses_and_keeps_what_it_has(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    fitted = [number for number in range(1_000) if send(program, number)]

    assert 0 < len(fitted) < 1_000
    assert reader.waiting_bytes <= RING_BYTES
    assert reader.read() == fitted
    assert send(program, 1)


def test_a_discarded_record_is_passed_over(load_ring: LoadRing) -> None:
    # The first byte of the packet decides: 0 is submitted, anything else discarded.
    program, reader = load_ring(
        isa.load(Size.W, 6, 1, 0),
        isa.load(Size.W, 3, 1, 4),
        isa.mov_reg(4, 6),
        isa.alu_imm(AluOp.ADD, 4, 1),
        isa.jump_reg(JumpOp.JGT, 4, 3, 14),
        isa.load(Size.B, 6, 6, 0),
        isa.ld_imm64(1, 0),
        isa.mov_imm(2, 8),
        isa.mov_imm(3, 0),
        isa.call_helper(RESERVE),
        isa.jump_imm(JumpOp.JEQ, 0, 0, 7),
        isa.store_reg(Size.DW, 0, 0, 6),
        isa.mov_reg(1, 0),
        isa.mov_imm(2, 0),
        isa.jump_imm(JumpOp.JNE, 6, 0, 2),
        isa.call_helper(SUBMIT),
        isa.jump(1),
        isa.call_helper(DISCARD),
        isa.mov_imm(0, 0),
        isa.exit_insn(),
        slot=6,
    )
    for first in (0, 1, 1, 0, 1):
        program.test_run(bytes([first]) + bytes(63))

    assert reader.read() == [0, 0]
    assert reader.waiting_bytes == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_busy_record_holds_back_what_is_behind_it(load_ring: LoadRing) -> None:
    # Reserves a record, asks for the time 100,000 times, then submits it.
    program, reader = load_ring(
        isa.ld_imm64(1, 0),
        isa.mov_imm(2, 8),
        isa.mov_imm(3, 0),
        isa.call_helper(RESERVE),
        isa.jump_imm(JumpOp.JEQ, 0, 0, 9),
        isa.mov_reg(6, 0),
        isa.store_imm(Size.DW, 6, 0, 9),
        isa.mov_imm(7, 0),
        isa.call_helper(KTIME),
        isa.alu_imm(AluOp.ADD, 7, 1),
        isa.jump_imm(JumpOp.JLT, 7, 100_000, -3),
        isa.mov_reg(1, 6),
        isa.mov_imm(2, 0),
        isa.call_helper(SUBMIT),
        isa.mov_imm(0, 0),
        isa.exit_insn(),
    )

    while_busy, after = catch_busy(program, reader)

    assert while_busy == []
    assert after == [9]
    assert reader.counts.busy >= 1


def catch_busy(program: Program, reader: Read) -> tuple[list[int], list[int]]:
    """What `reader` gives while `program` holds a record, and what it gives after.

    Each has a CPU of its own. On a busy machine this thread may sleep through all of it:
    then it is tried again.
    """
    cpus = os.sched_getaffinity(0)
    ours, theirs = sorted(cpus)[:2]

    def work() -> None:
        os.sched_setaffinity(0, {theirs})
        program.test_run(bytes(64))

    while_busy: list[int] = []
    deadline = time.monotonic() + 100
    os.sched_setaffinity(0, {ours})
    try:
        while True:
            worker = threading.Thread(target=work)
            worker.start()
            while not reader.waiting_bytes:
                time.sleep(0)
            while_busy = reader.read()
            after = [] if while_busy else reader.poll(timeout=60)
            worker.join()
            if after or time.monotonic() > deadline:
                return while_busy, after
    finally:
        os.sched_setaffinity(0, cpus)


def test_poll_waits_for_a_record(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    sender = threading.Timer(0.05, send, (program, 3))
    sender.start()

    assert reader.poll(timeout=60) == [3]
    sender.join()


def test_poll_gives_up_at_its_time(load_ring: LoadRing) -> None:
    _, reader = load_ring(*SEND)

    assert reader.poll(timeout=0.001) == []
    assert reader.poll(timeout=0) == []


def test_iteration_waits_and_loses_nothing_when_left(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    for number in range(4):
        send(program, number)

    first = next(iter(reader))

    assert first == 0
    assert reader.read() == [1, 2, 3]


def test_the_descriptor_is_readable_while_records_wait(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    assert select.select([reader], [], [], 0)[0] == []

    send(program, 1)

    assert select.select([reader], [], [], 10)[0] == [reader]
    reader.read()
    assert select.select([reader], [], [], 0)[0] == []


def test_a_decoder_that_fails_does_not_stop_the_ring(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    send(program, 1)
    failing = reader._decoding

    def refuse(data: bytes) -> int:
        raise ValueError(data)

    reader._decoding = Decoding(refuse)
    with pytest.raises(ValueError, match="x01"):
        reader.read()
    reader._decoding = failing
    send(program, 2)

    assert reader.read() == [2]


def test_only_a_ring_buffer_is_read(
    make_object: Callable[..., ObjectSpec], load_now: Callable[..., Loaded]
) -> None:
    spec = MapSpec("m", kind=MapKind.ARRAY, key_size=4, value_size=4, max_entries=1)
    loaded = load_now(make_object(spec))

    with pytest.raises(MapError, match="is of kind ARRAY, not RINGBUF"):
        RingReader(loaded.maps["m"], bytes)


def test_a_ring_that_overwrites_is_not_read(
    make_object: Callable[..., ObjectSpec], load_now: Callable[..., Loaded]
) -> None:
    spec = MapSpec("ring", kind=MapKind.RINGBUF, max_entries=RING_BYTES)
    ring = load_now(make_object(spec)).maps["ring"]
    ring.spec.flags |= 1 << 19

    with pytest.raises(MapError, match="overwrites its oldest records"):
        RingReader(ring, bytes)


def test_a_run_that_somebody_looks_at_outlives_its_reader(load_ring: LoadRing) -> None:
    program, reader = load_ring(*SEND)
    send(program, 7)
    run = reader._next(reader._mark(), 1)
    assert run is not None

    reader.close()

    assert run.pieces() == [(7).to_bytes(8, "little")]


def test_closing_gives_memory_and_descriptors_back(
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
    open_descriptors: Callable[[], int],
) -> None:
    spec = MapSpec("ring", kind=MapKind.RINGBUF, max_entries=RING_BYTES)
    ring = load_now(make_object(spec)).maps["ring"]
    before = open_descriptors()

    with RingReader(ring, bytes) as reader:
        reader.close()

    assert open_descriptors() == before
