"""gRPC through the mesh: by a real client, and by h2load as load."""

import sys
from collections.abc import Iterator

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import (
    GrpcLoad,
    Iptables,
    Lab,
    Mesh,
    NginxConfig,
    SidecarConfig,
    load,
    mesh,
)
from beewire.mesh.lab.grpc import parse
from beewire.mesh.lab.server import STREAM, STREAMED, STREAMED_SIZE, UNARY, message
from beewire.mesh.lab.tools import find

PORT = 50051
OUTPUT = """\
starting benchmark...
finished in 1.01s, 5793.07 req/s, 1.21MB/s
requests: 5852 total, 5868 started, 5852 done, 5848 succeeded, 4 failed, 1 errored, \
1 timeout
status codes: 5848 2xx, 0 3xx, 0 4xx, 2 5xx
"""
LOG = "100\t200\t30\n120\t200\t10\n150\t503\t20\n"
# What any gRPC client does: a channel, a call, its trailers.
CLIENT = """\
import sys, grpc
target, unary, stream, sent = sys.argv[1:]
with grpc.insecure_channel(target) as channel:
    call = channel.unary_unary(unary)
    answer, done = call.with_call(bytes.fromhex(sent), timeout=60)
    calls = channel.stream_stream(stream)
    answers = list(calls(iter([bytes.fromhex(sent)] * 3), timeout=60))
    stamps = sorted(k for k, _ in done.initial_metadata() if k.startswith("x-bw"))
    print(done.code().name, len(answer), len(answers), len(answers[0]), *stamps)
"""


def test_result_is_read_from_what_h2load_printed_and_wrote() -> None:
    result = parse(OUTPUT, LOG)

    assert (result.requests, result.duration_us) == (5852, 1_010_000)
    assert (result.p50_us, result.p99_us, result.max_us) == (20, 30, 30)
    assert (result.read, result.timeout, result.status) == (1, 1, 2)
    assert result.errors == 4


@pytest.mark.parametrize(
    ("output", "log"), [("", LOG), (OUTPUT, ""), ("connect() failed\n", "")]
)
def test_load_without_a_result_is_told(output: str, log: str) -> None:
    with pytest.raises(MeshError, match="h2load gave no result"):
        parse(output, log)


@pytest.fixture(scope="module")
def grpc_mesh(machine: None) -> Iterator[Mesh]:  # noqa: ARG001 - it may skip
    config, web = SidecarConfig(grpc_ports=(PORT,)), NginxConfig(grpc_ports=(PORT,))
    with Lab() as lab, mesh(lab, Iptables(), config, web=web) as running:
        yield running


@pytest.mark.mesh
def test_a_real_client_gets_messages_and_status(grpc_mesh: Mesh) -> None:
    pytest.importorskip("grpc", reason="needs grpcio")
    lab = grpc_mesh.lab
    words = [f"{lab.b.address}:{PORT}", UNARY, STREAM, message(100)[5:].hex()]

    said = lab.a.app.run([sys.executable, "-c", CLIENT, *words], timeout_s=150)

    assert said.split() == [
        *("OK", str(len(message(100)) - 5)),
        *(str(STREAMED), str(len(message(STREAMED_SIZE)) - 5)),
        *("x-bw-inbound", "x-bw-outbound"),
    ]


@pytest.mark.mesh
@pytest.mark.parametrize(
    "calls",
    [
        GrpcLoad(seconds=1),
        GrpcLoad(method=STREAM, seconds=1, streams=1, messages=100, size=1024),
    ],
)
def test_calls_under_load_are_answered_without_an_error(
    grpc_mesh: Mesh, calls: GrpcLoad
) -> None:
    if find("h2load") is None:
        pytest.skip("h2load is not installed")
    lab = grpc_mesh.lab

    result = load(lab.a, lab.b, calls)

    assert result.requests > 0
    assert result.errors == 0
    assert 0 < result.p50_us <= result.p99_us <= result.max_us
