"""Load on the mesh: a program in pod A, one thread, and what it measured.

wrk speaks HTTP/1.1 (here), h2load speaks gRPC (grpc.py).
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from beewire.errors import MeshError
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.lab.place import how_it_ended, stopping
from beewire.mesh.lab.pods import Pod
from beewire.mesh.lab.tools import require

MARK = "beewire-load "
GRACE_S = 60 * PATIENCE
PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)

# wrk gives each thread a Lua state of its own; `done` runs in another one, and asks them.
REPORT = """\
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function done(summary, latency, requests)
  local lost = 0
  for _, thread in ipairs(threads) do
    lost = lost + (thread:get("missing") or 0)
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
  local at = {}
  for i, percent in ipairs({PERCENTS}) do
    at[i] = string.format("%.0f", latency:percentile(percent))
  end
  table.insert(words, '"spread_us": [' .. table.concat(at, ", ") .. "]")
  io.write("beewire-load {" .. table.concat(words, ", ") .. "}\\n")
end
"""

# Every response must have passed both sidecars. Costs wrk some microseconds a response.
STAMPED = """\
missing = 0

function response(status, headers, body)
  -- A sidecar that answers for another that it cannot reach is an error of its own.
  if status < 400 and not (headers["x-bw-outbound"] and headers["x-bw-inbound"]) then
    missing = missing + 1
  end
end
"""

UPLOAD = """\
wrk.method = "POST"
wrk.body = string.rep("x", {size})
"""

# Requests that end their connection are mixed in by chance: every thread its own.
CLOSING = """\
function init(args)
  math.randomseed(1)
  keeping = wrk.format()
  wrk.headers["Connection"] = "close"
  closing = wrk.format()
end

function request()
  return math.random({one_in}) == 1 and closing or keeping
end
"""


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """`connections` in parallel ask for `path` for `seconds`.

    `close` opens a new connection for every request, `close_one_in` after one of so many.
    `upload` posts so many bytes. `stamped` checks that responses passed both sidecars.
    """

    path: str = "/"
    port: int = 80
    connections: int = 16
    seconds: int = 2
    close: bool = False
    ipv6: bool = False
    close_one_in: int = 0
    upload: int = 0
    stamped: bool = True

    def command(self, client: Pod, server: Pod) -> list[str]:
        """How wrk is started in `client`; writes its script into the pod's state."""
        path = client.state / "load.lua"
        path.write_text(self._script())
        close = ["-H", "Connection: close"] if self.close else []
        return [
            *(require("wrk"), "-t1", f"-c{self.connections}", f"-d{self.seconds}s"),
            *("--timeout", "5s", "-s", str(path)),
            *close,
            f"http://{authority(self, server)}{self.path}",
        ]

    def _script(self) -> str:
        parts = [REPORT.replace("PERCENTS", ", ".join(map(str, PERCENTS)))]
        if self.stamped:
            parts.append(STAMPED)
        if self.upload:
            parts.append(UPLOAD.format(size=self.upload))
        if self.close_one_in:
            parts.append(CLOSING.format(one_in=self.close_one_in))
        return "\n".join(parts)

    def result(self, output: str, command: Sequence[str]) -> "LoadResult":  # noqa: ARG002
        """What wrk said."""
        return parse(output)


class Load(Protocol):
    """One load program with its arguments: wrk's LoadConfig, h2load's GrpcLoad."""

    @property
    def seconds(self) -> int:
        """How long it runs."""

    def command(self, client: Pod, server: Pod) -> list[str]:
        """How it is started in `client`."""

    def result(self, output: str, command: Sequence[str]) -> "LoadResult":
        """What it measured, read from what it printed, as it was started.

        Raises:
            MeshError: it is not there.
        """


class Target(Protocol):
    """What a load dials."""

    @property
    def port(self) -> int:
        """The server's port."""

    @property
    def ipv6(self) -> bool:
        """Whether its IPv6 address is dialled."""


def authority(target: Target, server: Pod) -> str:
    """The host and port of `target` as a URL has them."""
    host = f"[{server.address6}]" if target.ipv6 else server.address
    return f"{host}:{target.port}"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What the load program counted; times in microseconds.

    `missing` counts good responses that a sidecar did not stamp; `errors` is everything that
    went wrong, those included. `spread_us` are the latencies at `PERCENTS`.
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
    spread_us: tuple[int, ...] = ()

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
            told = json.loads(line.removeprefix(MARK))
            return LoadResult(**told | {"spread_us": tuple(told["spread_us"])})
    said = output.strip().splitlines()
    raise MeshError(f"wrk gave no result: {said[-1] if said else 'no output'}")


@contextlib.contextmanager
def running(
    client: Pod, server: Pod, config: Load
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the load in pod `client`; `finish` waits for it, the block's end stops it.

    Raises:
        MeshError: the program is missing.
    """
    process = client.app.start(
        config.command(client, server), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with stopping(process):
        yield process


def finish(process: "subprocess.Popen[bytes]", config: Load) -> LoadResult:
    """Wait until the load is done.

    Raises:
        MeshError: it does not end, or ends without a result.
    """
    # mypy: what Popen was given may be anything; `running` gives a list.
    command: list[str] = process.args  # type: ignore[assignment]
    name = Path(command[0]).name
    try:
        output, _ = process.communicate(timeout=config.seconds + GRACE_S)
    except subprocess.TimeoutExpired as error:
        raise MeshError(f"{name} does not end") from error
    if process.returncode < 0:
        raise MeshError(f"{name} {how_it_ended(process)}")
    return config.result(output.decode(errors="replace"), command)


def load(client: Pod, server: Pod, config: Load) -> LoadResult:
    """Put `server` under load from `client` and return what was measured."""
    with running(client, server, config) as process:
        return finish(process, config)
