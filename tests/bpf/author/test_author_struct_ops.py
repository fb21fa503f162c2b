"""Tables of struct_ops: classes whose functions the kernel calls."""

import socket
import threading
from typing import Any

import pytest

from beewire.bpf import collect, load
from beewire.bpf.kernel import attach_struct_ops
from beewire.bpf.object.kinds import MapKind
from beewire.errors import NotSupported, SpecError
from tests.bpf.lang.test_lang_kernel import cell
from tests.faults import FEW, fail_everywhere

HEAD = """
from beewire.bpf import *

class tcp_sock(Kernel):
    snd_cwnd: u32
    snd_ssthresh: u32
class sock(Kernel):
    sk_mark: u32
class task_struct(Kernel):
    pid: i32
calls = PerCpuArray[u64](4)
"""

CALM = """
class Calm(StructOps, kernel="tcp_congestion_ops"):
    name: str = chars(16, default="bw_calm")

    @staticmethod
    def init(sk: sock) -> None:
        calls[0] += 1

    @staticmethod
    def ssthresh(sk: sock) -> u32:
        return 2

    @staticmethod
    def undo_cwnd(sk: sock) -> u32:
        return kernel_ptr(sk, tcp_sock).snd_cwnd

    @staticmethod
    def cong_avoid(sk: sock, ack: u32, acked: u32) -> None:
        calls[1] += u64(acked)
        kernel_ptr(sk, tcp_sock).snd_cwnd = 7
"""


def exchange(algorithm: str) -> None:
    """Send some data through a connection with this congestion control."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                while peer.recv(1 << 16):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        with socket.socket() as client:
            client.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode()
            )
            client.connect(server.getsockname())
            client.sendall(bytes(1 << 20))
        thread.join()


@pytest.mark.kernel
def test_a_congestion_control_is_called() -> None:
    names = cell(HEAD + CALM)

    with names["Calm"].attach():
        exchange("bw_calm")
        told = [sum(names["calls"][i]) for i in range(2)]

    assert told[0] >= 1
    assert told[1] > 0


@pytest.mark.kernel
def test_it_is_gone_with_its_link() -> None:
    names = cell(HEAD + CALM.replace("bw_calm", "bw_gone"))
    names["Calm"].attach().close()

    with socket.socket() as client, pytest.raises(FileNotFoundError):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bw_gone")


@pytest.mark.kernel
def test_it_loads_beside_others() -> None:
    names = cell(HEAD + CALM.replace("bw_calm", "bw_two"))

    with load(names["Calm"]) as loaded, attach_struct_ops(loaded.maps["Calm"]):
        exchange("bw_two")
        counts = loaded[names["calls"]]
        assert sum(counts[0]) >= 1


def test_the_object_has_the_table_and_its_programs() -> None:
    spec = collect(cell(HEAD + CALM)["Calm"])
    table = spec.maps["Calm"]
    value: Any = table.value

    assert table.kind is MapKind.STRUCT_OPS
    assert value.name == "tcp_congestion_ops"
    assert [member.name for member in value.members] == [
        *("name", "init", "ssthresh", "undo_cwnd", "cong_avoid"),
    ]
    assert table.content[:7] == b"bw_calm"
    assert table.initial == {
        16: "Calm_init",
        24: "Calm_ssthresh",
        32: "Calm_undo_cwnd",
        40: "Calm_cong_avoid",
    }
    assert spec.programs["Calm_init"].section == "struct_ops/init"


WRONG = {
    "a member that is none": (
        (
            'class Calm(StructOps, kernel="tcp_congestion_ops"):\n'
            "    @staticmethod\n    def nothing(sk: sock) -> None: ...\n"
        ),
        SpecError,
        "Calm.nothing is set, which this kernel's tcp_congestion_ops does not have",
    ),
    "a table that is none": (
        (
            'class Calm(StructOps, kernel="no_such_ops"):\n'
            "    @staticmethod\n    def nothing(sk: sock) -> None: ...\n"
        ),
        NotSupported,
        "struct_ops of 'no_such_ops'",
    ),
    "a member's argument": (
        (
            'class Calm(StructOps, kernel="tcp_congestion_ops"):\n'
            "    @staticmethod\n    def init(sk: task_struct) -> None: ...\n"
        ),
        SpecError,
        (
            "parameter 'sk' is task_struct, the kernel passes sock: write "
            "def Calm_init(arg0: sock)"
        ),
    ),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", WRONG)
def test_what_the_kernel_does_not_have_is_refused(name: str) -> None:
    text, error, message = WRONG[name]

    with pytest.raises(error) as caught:
        load(cell(HEAD + text)["Calm"])

    assert message in str(caught.value)


def test_a_table_without_functions_is_refused() -> None:
    with pytest.raises(SpecError, match="Calm has no functions"):
        cell(f'{HEAD}class Calm(StructOps, kernel="tcp_congestion_ops"):\n    pass\n')


@pytest.mark.kernel
@pytest.mark.host
def test_a_table_is_not_left_registered_whatever_fails() -> None:
    spec = collect(cell(HEAD + CALM)["Calm"])

    def action() -> None:
        with load(spec) as loaded, attach_struct_ops(loaded.maps["Calm"]):
            pass

    fail_everywhere(action, errnos=FEW)

    action()  # EEXIST, had one of them stayed
