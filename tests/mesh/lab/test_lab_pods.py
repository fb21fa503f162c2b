"""Pods: their network, and where processes in them run."""

import errno
import os
import select
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import Lab, LabConfig, conntrack_entries, iptables_rules
from beewire.mesh.lab.place import has_ended, stopping

pytestmark = [pytest.mark.mesh, pytest.mark.usefixtures("machine")]


def test_pod_reaches_pod_by_ipv4(lab: Lab) -> None:
    with (
        lab.b.app.listen("0.0.0.0", 9000) as listener,
        lab.a.app.connect(lab.b.address, 9000),
    ):
        served, client = listener.accept()
        served.close()

    assert client[0] == lab.a.address


def test_pod_reaches_pod_by_ipv6(lab: Lab) -> None:
    with (
        lab.b.app.listen("::", 9000) as listener,
        lab.a.app.connect(lab.b.address6, 9000),
    ):
        served, client = listener.accept()
        served.close()

    assert client[0] == lab.a.address6


def test_mapped_address_is_dialled_through_an_ipv6_socket(lab: Lab) -> None:
    with (
        lab.b.app.listen("0.0.0.0", 9000),
        lab.a.app.connect(lab.b.address, 9000, mapped=True) as sock,
    ):
        assert sock.family == socket.AF_INET6
        assert sock.getpeername()[:2] == (f"::ffff:{lab.b.address}", 9000)


def test_refused_connection_is_an_ordinary_refusal(lab: Lab) -> None:
    with pytest.raises(ConnectionRefusedError):
        lab.a.app.connect(lab.b.address, 9)


def test_a_child_that_ends_by_itself_says_why(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, "no descriptors left")

    with lab.a.app.running(fail) as child:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert has_ended(child)
    with lab.a.app.running(signal.pause) as child:
        assert not has_ended(child)

    assert "OSError: [Errno 24] no descriptors left" in capfd.readouterr().err


def test_process_runs_in_its_place(lab: Lab) -> None:
    place = lab.a.proxy

    def look() -> tuple[int, str, int]:
        group = Path("/proc/self/cgroup").read_text().splitlines()[-1]
        return os.getuid(), group, Path("/proc/self/ns/net").stat().st_ino

    uid, group, network = place.call(look)

    assert uid == 1337
    assert group.endswith(f"/{lab.run.name}/pod-a/proxy")
    assert network == lab.a.namespace.path.stat().st_ino


def test_what_is_frozen_stands_still_until_it_is_thawed(lab: Lab) -> None:
    pipe = subprocess.PIPE
    process = lab.a.app.start(["/bin/cat"], stdin=pipe, stdout=pipe)
    with stopping(process):
        assert process.stdin is not None
        assert process.stdout is not None
        lab.a.app.cgroup.freeze()
        process.stdin.write(b"said")
        process.stdin.close()
        heard, _, _ = select.select([process.stdout], [], [], 0.2)
        lab.a.app.cgroup.thaw()

        assert heard == []
        assert process.stdout.read() == b"said"


def test_what_is_frozen_can_be_killed(lab: Lab) -> None:
    process = lab.a.app.start(["/bin/sleep", "600"])
    lab.a.app.cgroup.freeze()
    lab.a.app.cgroup.kill()

    assert process.wait() == -signal.SIGKILL


def test_failure_of_a_call_is_raised_here(lab: Lab) -> None:
    def fail() -> None:
        raise OSError(errno.EXDEV, "far away")

    with pytest.raises(OSError, match="far away"):
        lab.a.app.call(fail)


def test_call_that_hangs_is_given_up(lab: Lab) -> None:
    with pytest.raises(MeshError, match=r"did not answer in 0\.2 s"):
        lab.a.app.call(signal.pause, timeout_s=0.2)


def test_program_that_fails_is_told_with_its_words(lab: Lab) -> None:
    with pytest.raises(MeshError, match="No such file"):
        lab.a.app.run(["/bin/ls", "/does/not/exist"])


def test_program_in_a_directory_that_only_root_enters_runs_as_another_user(
    lab: Lab, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    program = tmp_path / "id"
    shutil.copy("/usr/bin/id", program)

    assert lab.a.proxy.run([str(program), "-u"]) == "1337\n"


def test_missing_program_is_told(lab: Lab) -> None:
    with pytest.raises(MeshError, match="cannot start /bin/does-not-exist"):
        lab.a.app.start(["/bin/does-not-exist"])


def test_congestion_control_is_the_labs_own(lab: Lab) -> None:
    path = Path("/proc/sys/net/ipv4/tcp_congestion_control")

    assert lab.a.namespace.run(path.read_text) == "reno\n"


def test_congestion_control_that_is_not_allowed_is_refused() -> None:
    lab = Lab(LabConfig(congestion="no-such-thing"))

    with pytest.raises(MeshError, match="no-such-thing"), lab:
        pass

    assert not lab.run.state.exists()


def test_lab_without_ipv6_has_no_ipv6_address() -> None:
    with Lab(LabConfig(ipv6=False)) as lab:
        assert lab.a.addresses == (lab.a.address,)
        with pytest.raises(OSError, match="unreachable"):
            lab.a.app.connect(lab.b.address6, 9000)


def test_new_pod_has_no_rule_and_no_tracked_connection(lab: Lab) -> None:
    assert iptables_rules(lab.a) == 0
    assert conntrack_entries(lab.pods) == 0
