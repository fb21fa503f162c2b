"""A line of JSON for each load that a policy decides on: to a file, or to syslog."""

import json
import os
import time
from typing import TYPE_CHECKING

from beewire.bpf.kernel.policy.who import Loader
from beewire.errors import PolicyError

if TYPE_CHECKING:
    from beewire.bpf.kernel.policy.decide import Verdict

_JOURNAL = "/dev/log"


def record(verdict: "Verdict", who: Loader) -> None:
    """Write the line of a decision; a load that cannot be told of is not made.

    Raises:
        PolicyError: it cannot be written.
    """
    policy = verdict.policy
    if policy.audit == "none":
        return
    text = json.dumps(line(verdict, who), separators=(",", ":"))
    try:
        if policy.audit == "syslog":
            _to_syslog(text)
        else:
            _to_file(policy.audit, text)
    except OSError as error:
        where = _JOURNAL if policy.audit == "syslog" else policy.audit
        raise PolicyError(
            f"nothing is loaded, for the line that the policy {policy.path} asks for "
            f"cannot be written to {where}: {(error.strerror or 'refused').lower()}; "
            'audit = "/var/log/bpf-loads.jsonl" writes to a file, audit = "none" nowhere',
            policy.path,
        ) from None


def line(verdict: "Verdict", who: Loader) -> dict[str, object]:
    """What is written."""
    now = time.time()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return {
        "time": f"{seconds}.{int(now * 1000) % 1000:03}Z",
        "event": "bpf-load",
        "uid": who.uid,
        "user": who.name,
        "login_uid": who.login_uid,
        "pid": who.pid,
        "command": who.command,
        "object": verdict.facts.name,
        "digest": verdict.facts.digest and f"sha256:{verdict.facts.digest}",
        "decision": "allow" if verdict.allowed else "deny",
        "policy": verdict.policy.path,
        "programs": [
            {
                "name": each.program.name,
                "type": each.program.type.lower(),
                "attach": each.program.attach,
                "decision": "allow" if each.allowed else "deny",
                "rule": each.rule,
            }
            for each in verdict.decisions
        ],
    }


def _to_file(path: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    try:
        # In one write(2), so that lines of two processes do not mix.
        os.write(fd, text.encode(errors="replace") + b"\n")
    finally:
        os.close(fd)


def _to_syslog(text: str) -> None:
    import socket  # noqa: PLC0415 - only here

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.connect(_JOURNAL)
        # Priority of LOG_AUTHPRIV and LOG_NOTICE (RFC 3164).
        log.send(f"<{10 << 3 | 5}>beewire[{os.getpid()}]: {text}".encode())
