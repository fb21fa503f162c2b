"""What the agent and those who ask it say to each other.

A message is four bytes, its length in network order, and that much JSON: one object. A
request names the version of the protocol, what to do, and with what:

    {"version": 1, "do": "down", "with": {"pod": "default/shop-7f9c"}}

The answer has `result`, or `error` with a kind and a sentence:

    {"version": 1, "error": {"kind": "MeshError", "message": "no pod is called ..."}}

Whatever comes, the agent answers it or closes: no message is longer than LIMIT, no
unknown field is passed over, and no text of a peer is ever executed or formatted.
"""

import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from beewire.errors import BeewireError, MeshError, UsageError

VERSION = 1
LIMIT = 1 << 20  # bytes of one message: 10,000 ranges of a configuration fit easily
HEAD = 4
DEPTH = 32  # of nested lists and objects; json's own limit is the stack's

NOTHING: Mapping[str, object] = {}
Json = dict[str, Any]  # Any: what JSON can hold; `fields` gives each its type


class ProtocolError(MeshError):
    """A message that is none of this protocol."""


class Request(NamedTuple):
    """What is asked of the agent, and with what."""

    do: str
    arguments: Json


class Field(NamedTuple):
    """One argument: its JSON type, and its value where it is left out (None: it must not)."""

    kind: type
    default: object = None


def frame(message: Mapping[str, object]) -> bytes:
    """One message as bytes.

    Raises:
        ProtocolError: it is too long.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    return head(len(body)) + body


def head(size: int) -> bytes:
    """The four bytes before a message of `size` bytes.

    Raises:
        ProtocolError: it is too long.
    """
    if size > LIMIT:
        raise ProtocolError(f"a message has {size} bytes, and {LIMIT} are allowed")
    return size.to_bytes(HEAD, "big")


def size_of(data: bytes) -> int:
    """How long the message behind these four bytes is.

    Raises:
        ProtocolError: longer than any may be.
    """
    size = int.from_bytes(data, "big")
    if not 0 < size <= LIMIT:
        raise ProtocolError(f"a message of {size} bytes: from 1 to {LIMIT} are allowed")
    return size


def decode(body: bytes) -> Json:
    """The object in a message.

    Raises:
        ProtocolError: it is no JSON, no object, or nested too deeply.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a message is not JSON") from error
    if not isinstance(found, dict):
        raise ProtocolError(f"a message is an object, not {_said(found)}")
    _check_depth(found, DEPTH)
    return found


def request(body: bytes) -> Request:
    """The request in a message.

    Raises:
        ProtocolError: it is none, or of another version.
    """
    found = fields(
        decode(body),
        {"version": Field(int), "do": Field(str), "with": Field(dict, {})},
    )
    if found["version"] != VERSION:
        raise ProtocolError(
            f"a request is of version {found['version']}, and this agent speaks"
            f" {VERSION}: use the `beewire` that the agent was started with"
        )
    return Request(found["do"], found["with"])


def fields(found: Mapping[str, object], known: Mapping[str, Field]) -> Json:
    """The values of `found` by name, each of its type; those that are left out as usual.

    Raises:
        ProtocolError: one is missing, unknown, or of another type.
    """
    if unknown := found.keys() - known.keys():
        names = ", ".join(known) or "none"
        raise ProtocolError(f"there is no field {min(unknown)!r}; there are: {names}")
    values: Json = {}
    for name, field in known.items():
        value = found.get(name, field.default)
        if value is None:
            raise ProtocolError(f"the field {name!r} is missing")
        # JSON's true is no number, though Python's is.
        if not isinstance(value, field.kind) or (
            isinstance(value, bool) and field.kind is not bool
        ):
            wanted = _WORDS[field.kind]
            raise ProtocolError(f"{name!r} is {wanted}, not {_said(value)}")
        values[name] = value
    return values


def succeeded(result: object) -> bytes:
    """The answer that `result` is."""
    return frame({"version": VERSION, "result": result})


def failed(error: BaseException) -> bytes:
    """The answer that tells an error."""
    kind = type(error).__name__ if isinstance(error, BeewireError) else "Fault"
    notes = list(getattr(error, "__notes__", []))
    message = str(error) if isinstance(error, BeewireError) else f"{error!r}"
    told = {"kind": kind, "message": message[:4096], "notes": notes[:16]}
    return frame({"version": VERSION, "error": told})


def result_of(body: bytes) -> Any:
    """What an answer holds.

    Raises:
        UsageError, MeshError: what the agent told.
        ProtocolError: it is no answer.
    """
    found = decode(body)
    if "result" in found:
        return found["result"]
    told = found.get("error")
    if not isinstance(told, dict):
        raise ProtocolError("the agent's answer holds neither a result nor an error")
    kind = UsageError if told.get("kind") == "UsageError" else MeshError
    error = kind(str(told.get("message", "the agent failed")))
    for note in told.get("notes", []):
        error.add_note(str(note))
    raise error


def receive(sock: socket.socket) -> bytes:
    """The body of the next message from a blocking socket.

    Raises:
        ProtocolError: the other end closed in the middle of it, or it is too long.
    """
    return _exactly(sock, size_of(_exactly(sock, HEAD)))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ProtocolError("the connection ended in the middle of a message")
        data += part
    return bytes(data)


def _check_depth(value: object, left: int) -> None:
    if left == 0:
        raise ProtocolError(f"a message is nested deeper than {DEPTH}")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_depth(each, left - 1)


_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def _said(value: object) -> str:
    return _WORDS.get(type(value), "null")
