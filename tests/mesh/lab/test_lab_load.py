"""Reading what wrk printed."""

from pathlib import Path

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import LoadConfig, LoadResult, Mesh, load
from beewire.mesh.lab.load import parse

OUTPUT = """\
Running 2s test @ http://10.77.2.2:80/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.84ms  712.06us   7.62ms   70.12%
    Req/Sec     8.61k   391.04     9.10k    80.95%
  17962 requests in 2.10s, 5.21MB read
Requests/sec:   8545.63
Transfer/sec:      2.48MB
beewire-load {"requests": 17962, "duration_us": 2101893, "p50_us": 1775, \
"p99_us": 3720, "max_us": 7622, "missing": 3, "connect": 1, "read": 2, "write": 0, \
"status": 4, "timeout": 0, "spread_us": [700, 900, 1775]}
"""


def test_result_is_read_from_wrks_output() -> None:
    assert parse(OUTPUT) == LoadResult(
        requests=17962,
        duration_us=2101893,
        p50_us=1775,
        p99_us=3720,
        max_us=7622,
        missing=3,
        connect=1,
        read=2,
        write=0,
        status=4,
        timeout=0,
        spread_us=(700, 900, 1775),
    )


def test_rate_is_requests_over_the_time_it_took() -> None:
    assert parse(OUTPUT).requests_per_s == pytest.approx(8545.6, abs=0.1)


def test_unstamped_responses_are_errors_like_all_others() -> None:
    assert parse(OUTPUT).errors == 3 + 1 + 2 + 4


def test_output_without_a_result_is_told_by_its_last_line() -> None:
    with pytest.raises(MeshError, match="unable to connect to 10"):
        parse("unable to connect to 10.77.2.2:80 Connection refused\n")


def test_empty_output_is_told() -> None:
    with pytest.raises(MeshError, match="no output"):
        parse("")


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    "config",
    [
        LoadConfig(seconds=1, path="/upload", upload=1 << 16, connections=4),
        LoadConfig(seconds=1, close_one_in=4, connections=4),
        LoadConfig(seconds=1, stamped=False, connections=4),
    ],
)
def test_every_kind_of_request_is_answered(
    iptables_mesh: Mesh, config: LoadConfig
) -> None:
    lab = iptables_mesh.lab

    result = load(lab.a, lab.b, config)

    assert result.requests > 0
    assert result.errors == 0


@pytest.mark.mesh
@pytest.mark.usefixtures("machine")
def test_some_requests_end_their_connection(iptables_mesh: Mesh) -> None:
    lab = iptables_mesh.lab
    before = lab.a.namespace.run(_opened)

    result = load(lab.a, lab.b, LoadConfig(close_one_in=4, connections=4, seconds=1))

    # The sidecar's own connections to pod B are kept.
    opened = lab.a.namespace.run(_opened) - before
    assert 0.1 < opened / result.requests < 0.5


def _opened() -> int:
    names, values = (
        line.split()
        for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
        if line.startswith("Tcp:")
    )
    return int(values[names.index("ActiveOpens")])
