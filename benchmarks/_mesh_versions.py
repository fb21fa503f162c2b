"""Which versions of the programs in a mesh are measured."""

import re
import subprocess

from beewire.mesh.lab.tools import find

# How each tells its version, on either stream.
ASKED = {
    "envoy": ("envoy", "--version"),
    "nginx": ("nginx", "-v"),
    "wrk": ("wrk", "-v"),
    "h2load": ("h2load", "--version"),
    "iptables": ("iptables-legacy-restore", "--version"),
}
NUMBER = re.compile(r"\b\d+\.\d+(\.\d+)?\b")


def versions() -> dict[str, str]:
    """By the program's name; "" where it is missing or does not tell."""
    return {name: _version(*words) for name, words in ASKED.items()}


def _version(name: str, option: str) -> str:
    path = find(name)
    if path is None:
        return ""
    done = subprocess.run(
        [str(path), option], capture_output=True, text=True, check=False, timeout=30
    )
    found = NUMBER.search(done.stdout + done.stderr)
    return found[0] if found else ""
