"""Configuration that changes while Envoy runs, as istiod pushes it.

Listeners and clusters stand in two files of a directory that Envoy watches. A file that is
moved there is read at once, whole: a discovery response, as istiod would send it.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from beewire.mesh.lab.messages import Message

_CONFIG = "type.googleapis.com/envoy.config"
_LISTENER = f"{_CONFIG}.listener.v3.Listener"
_CLUSTER = f"{_CONFIG}.cluster.v3.Cluster"


class Resources(NamedTuple):
    """What is pushed to a sidecar."""

    listeners: list[Message]
    clusters: list[Message]


Edit = Callable[[Resources], None]


def as_they_are(_: Resources) -> None:
    """The edit that changes nothing."""


class Pushing:
    """The files that one Envoy watches, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
        self._version = 0

    def push(self, resources: Resources) -> None:
        """Let Envoy have other listeners and clusters; clusters first, as istiod does."""
        self._version += 1
        self._move("cds", _CLUSTER, resources.clusters)
        self._move("lds", _LISTENER, resources.listeners)

    def bootstrap(self) -> Message:
        """The part of Envoy's bootstrap that names the files."""
        return {
            "dynamic_resources": {
                f"{name}_config": {
                    "resource_api_version": "V3",
                    "path_config_source": {
                        "path": str(self.directory / f"{name}.json"),
                        "watched_directory": {"path": str(self.directory)},
                    },
                }
                for name in ("lds", "cds")
            }
        }

    def _move(self, name: str, kind: str, messages: list[Message]) -> None:
        response = {
            "version_info": str(self._version),
            "resources": list(_numbered(kind, messages)),
        }
        made = self.directory / f".{name}"
        made.write_text(json.dumps(response))
        made.chmod(0o644)
        os.replace(made, self.directory / f"{name}.json")  # noqa: PTH105 - a move


def _numbered(kind: str, messages: list[Message]) -> Iterator[Message]:
    # A pushed resource has a name; those of a bootstrap may do without.
    for number, message in enumerate(messages):
        yield {"@type": kind, "name": f"static-{number}", **message}
