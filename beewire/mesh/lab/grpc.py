"""Load by gRPC calls: h2load in pod A, one thread, and what it measured.

h2load sends each call as a gRPC client does: HTTP/2 without TLS, a POST with the message
of the call, `te: trailers`. It writes a line for every call, from which the latencies are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beewire.errors import MeshError
from beewire.mesh.lab.load import PERCENTS, LoadResult, authority
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.server import SMALL, UNARY, message
from beewire.mesh.lab.tools import require

DONE = re.compile(
    r"^requests: \d+ total, \d+ started, (?P<done>\d+) done, (?P<good>\d+) succeeded,"
    r" (?P<failed>\d+) failed, (?P<errored>\d+) errored, (?P<timeout>\d+) timeout",
    re.MULTILINE,
)
TOOK = re.compile(r"^finished in (?P<time>[0-9.]+)(?P<unit>us|ms|s),", re.MULTILINE)
UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True, slots=True)
class GrpcLoad:
    """`connections` with `streams` calls of `method` at a time on each, for `seconds`.

    A call sends `messages` of `size` bytes.
    """

    method: str = UNARY
    port: int = 50051
    connections: int = 4
    streams: int = 4
    seconds: int = 2
    ipv6: bool = False
    messages: int = 1
    size: int = SMALL

    def command(self, client: Pod, server: Pod) -> list[str]:
        """How h2load is started in `client`; writes the message into the pod's state."""
        log, sent = client.state / "calls.log", client.state / "call"
        log.unlink(missing_ok=True)
        sent.write_bytes(message(self.size) * self.messages)
        return [
            *(require("h2load"), "-t1", f"-c{self.connections}", f"-m{self.streams}"),
            *(f"-D{self.seconds}", f"--log-file={log}", "-d", str(sent)),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://{authority(self, server)}{self.method}",
        ]

    def result(self, output: str, command: Sequence[str]) -> LoadResult:
        """What h2load said, and what it wrote down."""
        logs = [word for word in command if word.startswith("--log-file=")]
        return parse(output, Path(logs[0].partition("=")[2]).read_text())


def parse(output: str, log: str) -> LoadResult:
    """Read what h2load printed, and its log: begin, status, and time of each call, in us.

    Raises:
        MeshError: it is not there: h2load ended early.
    """
    counts, took = DONE.search(output), TOOK.search(output)
    times = sorted(int(line.split("\t")[2]) for line in log.splitlines())
    if counts is None or took is None or not times:
        said = output.strip().splitlines()
        raise MeshError(f"h2load gave no result: {said[-1] if said else 'no output'}")
    return LoadResult(
        requests=int(counts["done"]),
        duration_us=round(float(took["time"]) * UNITS_US[took["unit"]]),
        p50_us=_percentile(times, 50),
        p99_us=_percentile(times, 99),
        max_us=times[-1],
        missing=0,
        connect=0,
        read=int(counts["errored"]),
        write=0,
        status=int(counts["failed"]) - int(counts["errored"]) - int(counts["timeout"]),
        timeout=int(counts["timeout"]),
        spread_us=tuple(_percentile(times, percent) for percent in PERCENTS),
    )


def _percentile(times: Sequence[int], percent: float) -> int:
    return times[int(len(times) * percent / 100)]
