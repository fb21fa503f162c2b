"""What the kernel tells of a program."""

from typing import NamedTuple

from beewire.bpf.kernel import attr, syscall


class ProgramInfo(NamedTuple):
    """What the kernel knows of a program; sizes in bytes.

    It counts runs and their time only while run-time statistics are switched on.
    """

    id: int
    tag: str
    name: str
    jited_size: int
    xlated_size: int
    verified_insns: int
    run_time_ns: int
    run_count: int


def program_info(fd: int) -> ProgramInfo:
    """Ask the kernel about the program behind `fd` (`struct bpf_prog_info`).

    Raises:
        KernelError: it is no program.
    """
    record = syscall.read_info(fd, attr.PROG_INFO)
    number = attr.PROG_INFO.integer
    return ProgramInfo(
        id=number(record, "id"),
        tag=attr.PROG_INFO.octets(record, "tag").hex(),
        name=attr.PROG_INFO.text(record, "name"),
        jited_size=number(record, "jited_prog_len"),
        xlated_size=number(record, "xlated_prog_len"),
        verified_insns=number(record, "verified_insns"),
        run_time_ns=number(record, "run_time_ns"),
        run_count=number(record, "run_cnt"),
    )
