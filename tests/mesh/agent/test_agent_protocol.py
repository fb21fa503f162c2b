"""The agent's protocol: what is a message, and what is answered to anything else."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent import protocol
from beewire.mesh.agent.protocol import Field, ProtocolError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def body(**message: Any) -> bytes:
    return json.dumps(message).encode()


@given(st.dictionaries(st.text(), JSON))
def test_a_message_comes_out_as_it_went_in(message: dict[str, Any]) -> None:
    framed = protocol.frame(message)

    assert protocol.size_of(framed[: protocol.HEAD]) == len(framed) - protocol.HEAD
    assert protocol.decode(framed[protocol.HEAD :]) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_protocol_error(data: bytes) -> None:
    try:
        found = protocol.request(data)
    except ProtocolError:
        return
    assert isinstance(found.do, str)


@given(st.dictionaries(st.text(max_size=8), JSON))
def test_any_object_is_a_request_or_a_protocol_error(found: dict[str, Any]) -> None:
    message = json.dumps({"version": 1, "do": "up", **found}).encode()
    with contextlib.suppress(ProtocolError):
        assert protocol.request(message).arguments == found.get("with", {})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "an object, not a list"),
        (b"null", "an object, not null"),
        (body(version=2, do="up"), "of version 2, and this agent speaks 1"),
        (body(version=True, do="up"), "'version' is a number, not true or false"),
        (body(version=1), "'do' is missing"),
        (body(version=1, do=5), "'do' is a text, not a number"),
        (body(version=1, do="up", more=1), "no field 'more'"),
        (b'{"version":' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_request_is_told(message: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        protocol.request(message)


@pytest.mark.parametrize("size", [0, protocol.LIMIT + 1, 2**32 - 1])
def test_a_message_has_a_size(size: int) -> None:
    with pytest.raises(ProtocolError, match="bytes"):
        protocol.size_of(size.to_bytes(4, "big"))


def test_a_message_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="allowed"):
        protocol.frame({"text": "x" * protocol.LIMIT})


def test_what_is_left_out_is_as_usual() -> None:
    known = {"name": Field(str, ""), "count": Field(int, 3)}

    assert protocol.fields({"count": 4}, known) == {"name": "", "count": 4}


@pytest.mark.parametrize(
    "error", [UsageError("no such port"), MeshError("no such pod")]
)
def test_an_error_arrives_as_what_it_was(error: Exception) -> None:
    error.add_note("look there")
    answer = protocol.failed(error)[protocol.HEAD :]

    with pytest.raises(type(error), match=str(error)) as caught:
        protocol.result_of(answer)

    assert caught.value.__notes__ == ["look there"]


def test_a_result_arrives() -> None:
    assert protocol.result_of(protocol.succeeded([1, "a"])[protocol.HEAD :]) == [1, "a"]


@pytest.mark.parametrize("answer", [b"{}", b'{"error": 5}'])
def test_what_is_no_answer_is_told(answer: bytes) -> None:
    with pytest.raises(ProtocolError, match="neither"):
        protocol.result_of(answer)
