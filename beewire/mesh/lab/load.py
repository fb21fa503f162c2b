"""Load on the mesh: wrk in pod A, one thread, and what it measured."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from beewire.errors import MeshError
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.place import how_it_ended, stopping
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.tools import require

MARK = "beewire-load "
GRACE_S = 15 * PATIENCE

# Every response must have passed both sidecars. wrk gives each thread a Lua state of its
# own; `done` runs in another one, and asks them.
SCRIPT = """\
local threads = {}
missing = 0

function setup(thread)
  table.insert(threads, thread)
end

function response(status, headers, body)
  -- A sidecar that answers for another that it cannot reach is an error of its own.
  if status < 400 and not (headers["x-bw-outbound"] and headers["x-bw-inbound"]) then
    missing = missing + 1
  end
end

function done(summary, latency, requests)
  local lost = 0
  for _, thread in ipairs(threads) do
    lost = lost + thread:get("missing")
  end
  local e = summary.errors
  local names = {"requests", "duration_us", "p50_us", "p99_us", "max_us", "missing",
    "connect", "read", "write", "status", "timeout"}
  local values = {summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), latency.max, lost,
    e.connect, e.read, e.write, e.status, e.timeout}
  local words = {}
  for i, name in ipairs(names) do
    words[i] = string.format('"%s": %.0f', name, tonumber(values[i]))
  end
  io.write("beewire-load {" .. table.concat(words, ", ") .. "}\\n")
end
"""


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """`connections` in parallel ask for `path` for `seconds`.

    `close` opens a new connection for every request.
    """

    path: str = "/"
    port: int = 80
    connections: int = 16
    seconds: int = 2
    close: bool = False
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What wrk counted; times in microseconds.

    `missing` counts good responses that a sidecar did not stamp; `errors` is everything that
    went wrong, those included.
    """

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    max_us: int
    missing: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int

    @property
    def requests_per_s(self) -> float:
        """Responses a second."""
        return self.requests / self.duration_us * 1e6

    @property
    def errors(self) -> int:
        """Failed connections, reads, writes, statuses, time-outs; unstamped responses."""
        failed = self.connect + self.read + self.write + self.status + self.timeout
        return failed + self.missing


def parse(output: str) -> LoadResult:
    """Read what wrk printed under our script.

    Raises:
        MeshError: it is not there: wrk ended early.
    """
    for line in output.splitlines():
        if line.startswith(MARK):
            return LoadResult(**json.loads(line.removeprefix(MARK)))
    said = output.strip().splitlines()
    raise MeshError(f"wrk gave no result: {said[-1] if said else 'no output'}")


@contextlib.contextmanager
def running(
    client: Pod, server: Pod, config: LoadConfig
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start wrk in pod `client`; `finish` waits for it, the block's end stops it.

    Raises:
        MeshError: wrk is missing.
    """
    binary = require("wrk")
    script = client.state / "load.lua"
    script.write_text(SCRIPT)
    host = f"[{server.address6}]" if config.ipv6 else server.address
    close = ["-H", "Connection: close"] if config.close else []
    command = [
        *(binary, "-t1", f"-c{config.connections}", f"-d{config.seconds}s"),
        *("--timeout", "5s", "-s", str(script)),
        *close,
        f"http://{host}:{config.port}{config.path}",
    ]
    process = client.app.start(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with stopping(process):
        yield process


def finish(process: "subprocess.Popen[bytes]", config: LoadConfig) -> LoadResult:
    """Wait until wrk is done.

    Raises:
        MeshError: it does not end, or ends without a result.
    """
    try:
        output, _ = process.communicate(timeout=config.seconds + GRACE_S)
    except subprocess.TimeoutExpired as error:
        raise MeshError("wrk does not end") from error
    if process.returncode < 0:
        raise MeshError(f"wrk {how_it_ended(process)}")
    return parse(output.decode(errors="replace"))


def load(client: Pod, server: Pod, config: LoadConfig) -> LoadResult:
    """Run wrk in `client` against `server` and return what it measured."""
    with running(client, server, config) as process:
        return finish(process, config)
