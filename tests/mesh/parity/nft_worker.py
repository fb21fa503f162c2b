"""Loads rules into nft, sends packets, and tells which rules counted each.

Runs in a network namespace of its own (`unshare --net`). Standard input: {"rules": TEXT,
"attempts": [[PROTOCOL, ADDRESS, PORT, UID, GID], ...]}; standard output: for each attempt,
the lines of TEXT whose counters went up.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
SETUP = """\
link set lo up
link add eth0 type veth peer name other
link set other up
link set eth0 up
address add 10.0.0.5/24 dev eth0
-6 address add fd00::5/64 dev eth0 nodad
route add default dev eth0
-6 route add default dev eth0
"""


def main() -> None:
    given = json.load(sys.stdin)
    for line in SETUP.splitlines():
        subprocess.run(["ip", *line.split()], check=True)
    subprocess.run(["nft", "-f", "-"], input=given["rules"], text=True, check=True)
    chains = in_order(given["rules"])
    told, before = [], counters()
    for attempt in given["attempts"]:
        send(*attempt)
        after = counters()
        told.append(
            [
                lines[number]
                for chain, lines in chains.items()
                for number in range(len(lines))
                if after[chain][number] > before[chain][number]
            ]
        )
        before = after
    json.dump(told, sys.stdout)


def in_order(text: str) -> dict[str, list[str]]:
    """The lines of each chain in the order that nft gives their rules."""
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if words[1] != "rule":
            continue
        rules = chains.setdefault(f"{words[3]} {words[4]}", [])
        at = int(words[6]) if words[0] == "insert" else len(rules)
        rules.insert(at, line)
    return chains


def counters() -> dict[str, list[int]]:
    """How many packets each rule has counted, by chain."""
    listed = subprocess.run(
        ["nft", "-j", "list", "ruleset"], capture_output=True, check=True
    )
    found: dict[str, list[int]] = {}
    for entry in json.loads(listed.stdout)["nftables"]:
        if "rule" in entry:
            rule = entry["rule"]
            packets = next(
                each["counter"] for each in rule["expr"] if "counter" in each
            )
            chain = f"{rule['table']} {rule['chain']}"
            found.setdefault(chain, []).append(packets["packets"])
    return found


def send(protocol: str, address: str, port: int, uid: int, gid: int) -> None:
    """Begin one connection, or send one datagram, as a user of a group."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    with contextlib.suppress(OSError), socket.socket(family, KINDS[protocol]) as sock:
        sock.setblocking(False)
        target: Any = (address, port)
        if protocol == "tcp":
            sock.connect_ex(target)
        else:
            sock.sendto(b"x", target)
    os._exit(0)


if __name__ == "__main__":
    main()
