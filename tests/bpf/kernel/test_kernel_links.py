import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beewire.bpf.kernel import (
    Link,
    LinkKind,
    Loaded,
    XdpMode,
    attach_cgroup,
    attach_netns,
    attach_raw_tracepoint,
    attach_sockmap,
    attach_tracepoint,
    attach_tracing,
    attach_xdp,
    attr,
    cgroup2_mount,
    features,
    syscall,
    tracepoint_id,
)
from beewire.bpf.kernel.links.info import CgroupInfo, NetnsInfo, XdpInfo
from beewire.bpf.object import AttachKind, MapKind, MapSpec, ObjectSpec, ProgramKind
from beewire.errors import AttachError, KernelError, NotSupported
from tests.netns import enter

if TYPE_CHECKING:
    from tests.bpf.kernel.conftest import Counter

pytestmark = [pytest.mark.kernel, pytest.mark.thorough]

MakeCounter = Callable[..., "Counter"]
RunInside = Callable[[Callable[[], object]], None]


def run_true() -> None:
    subprocess.run(["true"], check=True)


@pytest.mark.parametrize("as_link", [True, False])
def test_a_tracepoint_program_runs_until_its_link_is_closed(
    counter: MakeCounter, as_link: bool
) -> None:
    count = counter(ProgramKind.TRACEPOINT)

    with attach_tracepoint(
        count.program, "sched", "sched_process_exec", as_link=as_link
    ) as link:
        run_true()
    during = count.hits  # others of the machine execute programs, too
    run_true()

    assert during >= 1
    assert count.hits == during
    has_links = features.attach_kind(AttachKind.PERF_EVENT).available
    assert link.kind == ("perf_event" if as_link and has_links else "ioctl")


def test_a_link_outlives_its_program(counter: MakeCounter) -> None:
    count = counter(ProgramKind.TRACEPOINT)

    with attach_tracepoint(count.program, "sched", "sched_process_exec"):
        count.program.close()
        run_true()

    assert count.hits >= 1


def test_an_old_tracepoint_link_says_what_it_cannot_do(counter: MakeCounter) -> None:
    count = counter(ProgramKind.TRACEPOINT)

    with attach_tracepoint(
        count.program, "sched", "sched_process_exec", as_link=False
    ) as link:
        with pytest.raises(NotSupported, match="pinning"):
            link.pin("/nowhere")
        with pytest.raises(NotSupported, match="another program"):
            link.update(count.program)


def test_a_program_is_attached_to_a_tracepoint_once(counter: MakeCounter) -> None:
    count = counter(ProgramKind.TRACEPOINT)

    with (
        attach_tracepoint(count.program, "sched", "sched_process_exec"),
        pytest.raises(AttachError, match="it is attached there already"),
    ):
        attach_tracepoint(count.program, "sched", "sched_process_exec")


def test_a_tracepoint_that_does_not_exist_is_named(counter: MakeCounter) -> None:
    count = counter(ProgramKind.TRACEPOINT)

    with pytest.raises(AttachError, match="no tracepoint sched:no_such_event"):
        attach_tracepoint(count.program, "sched", "no_such_event")


def test_a_program_of_another_kind_is_refused_by_a_tracepoint(
    counter: MakeCounter,
) -> None:
    count = counter(ProgramKind.XDP)

    with pytest.raises(AttachError, match="section 'xdp' does not belong there"):
        attach_tracepoint(count.program, "sched", "sched_process_exec")


def tracing_mounts() -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if line.split()[2] in {"tracefs", "debugfs"}]


def test_reading_a_tracepoint_number_leaves_nothing_mounted(
    open_descriptors: Callable[[], int],
) -> None:
    mounts, before = tracing_mounts(), open_descriptors()

    assert tracepoint_id("sched", "sched_switch") > 0

    assert tracing_mounts() == mounts
    assert open_descriptors() == before


def test_a_raw_tracepoint_program_runs(counter: MakeCounter) -> None:
    count = counter(ProgramKind.RAW_TRACEPOINT)

    with attach_raw_tracepoint(count.program, "sched_process_exec") as link:
        run_true()
        info = link.info

    assert count.hits >= 1
    assert info.kind is LinkKind.RAW_TRACEPOINT
    assert link.kind == "raw_tracepoint"


def test_a_raw_tracepoint_that_does_not_exist_is_named(counter: MakeCounter) -> None:
    count = counter(ProgramKind.RAW_TRACEPOINT)

    with pytest.raises(AttachError, match=r"'no_such_event': this kernel has no such"):
        attach_raw_tracepoint(count.program, "no_such_event")


def test_a_tracing_program_runs_where_its_btf_says(counter: MakeCounter) -> None:
    count = counter(
        ProgramKind.TRACING,
        AttachKind.TRACE_RAW_TP,
        verdict=0,
        attach_to="sched_process_exec",
    )

    with attach_tracing(count.program) as link:
        run_true()

    assert count.hits >= 1
    assert link.kind == "tracing"


CONNECT = """
import socket
with socket.socket() as s:
    try:
        s.connect(("127.0.0.1", 9))
    except OSError as error:
        print(type(error).__name__)
"""


def test_a_connect_program_decides_for_its_cgroup_only(
    counter: MakeCounter, cgroup: str, run_in_cgroup: Callable[[str], str]
) -> None:
    deny = counter(
        ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT, verdict=0
    )

    with attach_cgroup(deny.program, cgroup) as link:
        inside = run_in_cgroup(CONNECT)
        outside = subprocess.run(
            [sys.executable, "-c", CONNECT], check=True, capture_output=True, text=True
        ).stdout.strip()
        info = link.info
    after = run_in_cgroup(CONNECT)

    assert (inside, outside, after) == (
        "PermissionError",
        "ConnectionRefusedError",
        "ConnectionRefusedError",
    )
    assert deny.hits == 1
    assert isinstance(info, CgroupInfo)
    assert (info.cgroup_id, info.path) == (Path(cgroup).stat().st_ino, cgroup)


TRAFFIC = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        client.getpeername()
"""


@pytest.mark.parametrize(
    ("kind", "hook"),
    [
        (ProgramKind.CGROUP_SKB, AttachKind.CGROUP_INET_EGRESS),
        (ProgramKind.CGROUP_SKB, AttachKind.CGROUP_INET_INGRESS),
        (ProgramKind.CGROUP_SOCK, AttachKind.CGROUP_INET_SOCK_CREATE),
        (ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_BIND),
        (ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_GETPEERNAME),
        (ProgramKind.CGROUP_SOCKOPT, AttachKind.CGROUP_GETSOCKOPT),
        (ProgramKind.CGROUP_SOCKOPT, AttachKind.CGROUP_SETSOCKOPT),
        (ProgramKind.SOCK_OPS, AttachKind.CGROUP_SOCK_OPS),
        (ProgramKind.SOCK_OPS, None),
    ],
)
def test_each_cgroup_hook_fires(
    counter: MakeCounter,
    cgroup: str,
    run_in_cgroup: Callable[[str], str],
    kind: ProgramKind,
    hook: AttachKind | None,
) -> None:
    count = counter(kind, hook)

    with attach_cgroup(count.program, cgroup):
        run_in_cgroup(TRAFFIC)

    assert count.hits > 0


def test_a_cgroup_may_be_given_as_a_descriptor(
    counter: MakeCounter, cgroup: str
) -> None:
    count = counter(ProgramKind.SOCK_OPS)
    fd = os.open(cgroup, os.O_RDONLY)

    with attach_cgroup(count.program, fd) as link:
        assert link.info.kind is LinkKind.CGROUP
    os.close(fd)


def test_a_missing_cgroup_says_which_and_what_to_do(counter: MakeCounter) -> None:
    count = counter(ProgramKind.SOCK_OPS)
    path = f"{cgroup2_mount()}/bw-missing"

    with pytest.raises(AttachError) as caught:
        attach_cgroup(count.program, path)

    message = str(caught.value)
    assert message.startswith(f"cgroup {path} does not exist: create it with `mkdir")
    assert cgroup2_mount() in message


def test_a_directory_that_is_no_cgroup_is_refused(
    counter: MakeCounter, tmp_path: Path
) -> None:
    count = counter(ProgramKind.SOCK_OPS)

    with pytest.raises(AttachError, match="is not a cgroup2 directory: use one below"):
        attach_cgroup(count.program, str(tmp_path))


def test_a_file_is_no_cgroup(counter: MakeCounter, tmp_path: Path) -> None:
    count = counter(ProgramKind.SOCK_OPS)
    (tmp_path / "file").touch()

    with pytest.raises(AttachError, match="is a file"):
        attach_cgroup(count.program, str(tmp_path / "file"))


def test_a_program_without_a_cgroup_hook_is_refused(
    counter: MakeCounter, cgroup: str
) -> None:
    count = counter(ProgramKind.XDP)

    with pytest.raises(AttachError, match="has no cgroup hook"):
        attach_cgroup(count.program, cgroup)


def test_update_changes_the_program_of_a_link(
    counter: MakeCounter, cgroup: str, run_in_cgroup: Callable[[str], str]
) -> None:
    hook = (ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT)
    deny, allow = counter(*hook, verdict=0), counter(*hook, verdict=1)

    with attach_cgroup(deny.program, cgroup) as link:
        before = run_in_cgroup(CONNECT)
        link.update(allow.program)
        after = run_in_cgroup(CONNECT)

    assert (before, after) == ("PermissionError", "ConnectionRefusedError")
    assert (deny.hits, allow.hits) == (1, 1)


def test_update_to_another_kind_of_program_is_refused(
    counter: MakeCounter, cgroup: str
) -> None:
    first, second = counter(ProgramKind.SOCK_OPS), counter(ProgramKind.XDP)

    with (
        attach_cgroup(first.program, cgroup) as link,
        pytest.raises(KernelError, match="in the place of 'count' on cgroup"),
    ):
        link.update(second.program)


def test_detach_ends_the_attachment_while_the_link_is_open(
    counter: MakeCounter, cgroup: str, run_in_cgroup: Callable[[str], str]
) -> None:
    deny = counter(
        ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT, verdict=0
    )

    with attach_cgroup(deny.program, cgroup) as link:
        link.detach()
        found = run_in_cgroup(CONNECT)
        info = link.info

    assert found == "ConnectionRefusedError"
    assert isinstance(info, CgroupInfo)
    assert (info.cgroup_id, info.path) == (0, "")


def connect_in(netns: str) -> None:
    subprocess.run(
        [*enter(netns), sys.executable, "-c", CONNECT],
        check=True,
        capture_output=True,
    )


def test_a_lookup_program_runs_in_its_namespace_only(
    counter: MakeCounter, netns: str
) -> None:
    count = counter(ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP)
    path = f"/var/run/netns/{netns}"

    with attach_netns(count.program, path) as link:
        connect_in(netns)
        during = count.hits
        subprocess.run([sys.executable, "-c", CONNECT], check=True, capture_output=True)
        info = link.info
    outside = count.hits
    connect_in(netns)

    assert during >= 1
    assert outside == during == count.hits
    assert isinstance(info, NetnsInfo)
    assert (info.netns_ino, info.name) == (
        Path(path).stat().st_ino,
        f"netns {netns}",
    )


def test_a_namespace_may_be_given_as_a_descriptor(
    counter: MakeCounter, netns: str
) -> None:
    count = counter(ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP)
    fd = os.open(f"/var/run/netns/{netns}", os.O_RDONLY)

    with attach_netns(count.program, fd):
        connect_in(netns)
    os.close(fd)

    assert count.hits >= 1


def test_a_missing_namespace_is_named(counter: MakeCounter) -> None:
    count = counter(ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP)

    with pytest.raises(AttachError, match="namespace /var/run/netns/bw-none: No such"):
        attach_netns(count.program, "/var/run/netns/bw-none")


def test_a_file_is_no_namespace(counter: MakeCounter, tmp_path: Path) -> None:
    count = counter(ProgramKind.SK_LOOKUP, AttachKind.SK_LOOKUP)
    (tmp_path / "file").touch()

    with pytest.raises(AttachError, match="it is no network namespace"):
        attach_netns(count.program, str(tmp_path / "file"))


SEND_PACKETS = """
import socket, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"bw-v-peer")
    for _ in range(5):
        s.sendto(b"hello", ("10.99.1.9", 9))
        time.sleep(0.01)
"""


@pytest.mark.parametrize("mode", [XdpMode.AUTO, XdpMode.GENERIC, XdpMode.NATIVE])
def test_an_xdp_program_sees_the_packets_of_its_interface(
    counter: MakeCounter, netns: str, veth: str, inside: RunInside, mode: XdpMode
) -> None:
    count = counter(ProgramKind.XDP, AttachKind.XDP, verdict=2)
    links: list[Link] = []

    inside(lambda: links.append(attach_xdp(count.program, veth, mode)))
    with links[0] as link:
        subprocess.run(
            [*enter(netns), sys.executable, "-c", SEND_PACKETS],
            check=True,
        )
        info = link.info

    assert count.hits >= 1
    assert info.kind is LinkKind.XDP
    assert isinstance(info, XdpInfo)
    assert info.ifindex > 0


def test_a_missing_interface_is_named(counter: MakeCounter) -> None:
    count = counter(ProgramKind.XDP, AttachKind.XDP)

    with pytest.raises(AttachError, match="no network interface 'bw-none'"):
        attach_xdp(count.program, "bw-none")


def test_an_interface_takes_one_xdp_program(
    counter: MakeCounter, veth: str, inside: RunInside
) -> None:
    count = counter(ProgramKind.XDP, AttachKind.XDP)

    def twice() -> None:
        with (
            attach_xdp(count.program, veth),
            pytest.raises(AttachError, match="another is there already: program"),
        ):
            attach_xdp(count.program, veth)

    inside(twice)


@pytest.mark.parametrize("as_link", [True, False])
def test_a_message_program_is_attached_to_a_sockmap(
    counter: MakeCounter,
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
    as_link: bool,
    open_descriptors: Callable[[], int],
) -> None:
    sockets = MapSpec(
        "s", kind=MapKind.SOCKHASH, key_size=4, value_size=8, max_entries=4
    )
    loaded = load_now(make_object(sockets))
    count = counter(ProgramKind.SK_MSG, AttachKind.SK_MSG_VERDICT)
    before = open_descriptors()

    with attach_sockmap(count.program, loaded.maps["s"], as_link=as_link) as link:
        kind = link.kind
    with attach_sockmap(count.program, loaded.maps["s"], as_link=as_link):
        pass

    newest = ("sockmap", "sockmap.attach")  # a link since Linux 6.10
    assert kind in (newest if as_link else ("sockmap.attach",))
    assert open_descriptors() == before


def test_a_failing_attachment_leaves_no_descriptor(
    counter: MakeCounter, cgroup: str, open_descriptors: Callable[[], int]
) -> None:
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT)
    wrong = counter(ProgramKind.XDP)
    wrong.program.spec.attach_kind = AttachKind.CGROUP_INET4_CONNECT
    before = open_descriptors()

    with pytest.raises(AttachError):
        attach_cgroup(wrong.program, cgroup)
    with pytest.raises(AttachError):
        attach_tracepoint(count.program, "sched", "sched_process_exec")

    assert open_descriptors() == before


def test_a_link_that_the_kernel_cannot_detach_is_closed(counter: MakeCounter) -> None:
    count = counter(ProgramKind.TRACEPOINT)

    with attach_tracepoint(count.program, "sched", "sched_process_exec") as link:
        link.detach()
        before = count.hits  # others of the machine execute programs, too
        run_true()

        assert count.hits == before


@pytest.mark.parametrize("index", [0, -1, 1 << 30])
def test_an_index_without_an_interface_is_told(
    counter: MakeCounter, index: int
) -> None:
    count = counter(ProgramKind.XDP, AttachKind.XDP)

    with pytest.raises(AttachError, match=f"no network interface {index} in this"):
        attach_xdp(count.program, index)


def test_a_driver_without_xdp_is_told(counter: MakeCounter, inside: RunInside) -> None:
    count = counter(ProgramKind.XDP, AttachKind.XDP)

    def attach() -> None:
        with pytest.raises(AttachError, match="interface lo: its driver knows no XDP"):
            attach_xdp(count.program, "lo", XdpMode.NATIVE)

    inside(attach)


def test_a_map_without_sockets_takes_no_message_program(
    counter: MakeCounter,
    make_object: Callable[..., ObjectSpec],
    load_now: Callable[..., Loaded],
) -> None:
    table = MapSpec("t", kind=MapKind.HASH, key_size=4, value_size=8, max_entries=4)
    loaded = load_now(make_object(table))
    count = counter(ProgramKind.SK_MSG, AttachKind.SK_MSG_VERDICT)

    with pytest.raises(AttachError, match="holds no sockets, it is a HASH map"):
        attach_sockmap(count.program, loaded.maps["t"])


def test_a_program_that_wants_to_be_alone_is_told(
    counter: MakeCounter, cgroup: str
) -> None:
    count = counter(ProgramKind.CGROUP_SOCK_ADDR, AttachKind.CGROUP_INET4_CONNECT)
    fd = os.open(cgroup, os.O_RDONLY)
    alone = attr.PROG_ATTACH.pack(
        target_fd=fd,
        attach_bpf_fd=count.program.fd,
        attach_type=AttachKind.CGROUP_INET4_CONNECT,
    )
    syscall.bpf(syscall.Cmd.PROG_ATTACH, alone, "attach the old way")

    with pytest.raises(AttachError, match="without BPF_F_ALLOW_MULTI"):
        attach_cgroup(count.program, cgroup)

    syscall.bpf(syscall.Cmd.PROG_DETACH, alone, "detach")
    os.close(fd)


def test_a_tracepoint_link_keeps_its_program(counter: MakeCounter) -> None:
    count = counter(ProgramKind.RAW_TRACEPOINT)

    with (
        attach_raw_tracepoint(count.program, "sched_process_exec") as link,
        pytest.raises(NotSupported, match="on a link of kind 'raw_tracepoint'"),
    ):
        link.update(count.program)
