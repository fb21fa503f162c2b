"""The examples that are tables of struct_ops: a congestion control, a scheduler."""

import socket
import subprocess
import sys
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from beewire.bpf import collect
from beewire.bpf.btf import Struct
from beewire.bpf.kernel import kernel_index

EXAMPLES = Path(__file__).parents[2] / "examples"


def imported(name: str) -> ModuleType:
    """An example as a module of its own."""
    spec = spec_from_file_location(f"bw_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def has_table(name: str) -> bool:
    return kernel_index().lookup(f"bpf_struct_ops_{name}", Struct) is not None


@pytest.mark.kernel
def test_a_congestion_control_carries_data() -> None:
    example = imported("congestion")

    with example.Gentle.attach(), socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                while peer.recv(1 << 16):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        with socket.socket() as client:
            example.choose(client)
            client.connect(server.getsockname())
            client.sendall(bytes(1 << 22))
        thread.join()

        assert example.connections.value == 1
        assert example.most.value > 10


def test_a_scheduler_compiles() -> None:
    spec = collect(imported("scheduler").Fifo)

    assert set(spec.maps["Fifo"].initial.values()) == {
        *("Fifo_init", "Fifo_enqueue", "Fifo_dispatch"),
    }


@pytest.mark.kernel
def test_a_scheduler_schedules() -> None:
    if not has_table("sched_ext_ops"):
        pytest.skip("this kernel has no sched_ext")
    command = [sys.executable, str(EXAMPLES / "scheduler.py"), "1"]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "schedules this machine (struct_ops)" in done.stdout
    assert int(done.stdout.splitlines()[-1].split()[0]) > 0
