"""What a mesh uses, as the kernel accounts for it."""

import os
import subprocess
import sys

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import Iptables, Lab, LoadConfig, Mesh, load, mesh, usage

BUSY = "sum(i * i for i in range(3_000_000))"


def test_what_an_ended_child_used_is_counted() -> None:
    before = usage.of_ended_children()

    subprocess.run([sys.executable, "-c", BUSY], check=True)

    assert usage.of_ended_children().since(before).cpu_us > 10_000


def test_all_threads_of_a_process_are_counted() -> None:
    code = f"import threading; t = threading.Thread(target=lambda: {BUSY}); t.start();"
    code += " print(flush=True); import time; time.sleep(0.2); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = usage.of_process(process.pid)
        process.communicate(b"\n")

    assert before.cpu_us > 0


def test_our_own_memory_is_some_megabytes() -> None:
    assert usage.resident_kb(os.getpid()) > 1 << 10


def test_a_process_that_has_ended_has_no_memory_and_no_threads() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()

    assert usage.resident_kb(process.pid) == 0
    with pytest.raises(MeshError, match="has ended"):
        usage.of_process(process.pid)


def test_the_kernel_has_threads_and_memory_of_its_own() -> None:
    threads = usage.kernel_threads()

    assert usage.KTHREADD not in threads
    assert os.getpid() not in threads
    assert usage.of_threads(threads) >= 0
    assert usage.kernel_kb() > 0
    assert usage.socket_kb() >= 0


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
class TestAMeshUnderLoad:
    def test_both_sidecars_use_time_by_cgroup_and_by_process(
        self, iptables_mesh: Mesh
    ) -> None:
        lab, sidecars = iptables_mesh.lab, (iptables_mesh.a, iptables_mesh.b)
        cgroups = [usage.of_cgroup(each.pod.proxy.cgroup) for each in sidecars]
        tasks = [usage.of_process(each.process.pid) for each in sidecars]

        load(lab.a, lab.b, LoadConfig(connections=4, seconds=1))

        for each, cgroup, task in zip(sidecars, cgroups, tasks, strict=True):
            by_cgroup = usage.of_cgroup(each.pod.proxy.cgroup).since(cgroup)
            by_process = usage.of_process(each.process.pid).since(task)
            assert by_cgroup.user_us > 0
            assert by_cgroup.system_us > 0
            assert by_process.cpu_us > 0
            assert by_process.voluntary + by_process.involuntary > 0

    def test_rules_in_nftables_intercept_alike(self) -> None:
        with Lab() as lab, mesh(lab, Iptables(nft=True)) as running:
            result = load(lab.a, lab.b, LoadConfig(connections=4, seconds=1))

        assert running.name == "iptables_nft"
        assert result.requests > 0
        assert result.errors == 0
