"""Beewire's entry in the CNI configurations of a node: added, found, taken away.

A configuration is a JSON file with a list of plugins that a runtime calls in order
(CNI specification, section 1). Ours comes last: it needs the network that others make.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from beewire.errors import MeshError, UsageError
from beewire.mesh.agent.cni import ANNOTATIONS

TYPE = "beewire-cni"


class CniPaths(NamedTuple):
    """Where a node has its CNI configurations, and its plugins."""

    configurations: Path = Path("/etc/cni/net.d")
    plugins: Path = Path("/opt/cni/bin")


def paths_of(environment: "os._Environ[str] | dict[str, str]") -> CniPaths:
    """The directories that BEEWIRE_CNI_CONF and BEEWIRE_CNI_BIN name, else the usual."""
    usual = CniPaths()
    return CniPaths(
        Path(environment.get("BEEWIRE_CNI_CONF") or usual.configurations),
        Path(environment.get("BEEWIRE_CNI_BIN") or usual.plugins),
    )


def add(paths: CniPaths, file: Path | None = None) -> tuple[Path, ...]:
    """Put Beewire's entry into `file`, else into the configuration that runtimes take.

    Returns what has changed: the configuration, and the plugin's executable; nothing
    where both are there.

    Raises:
        UsageError: there is no such configuration, or it is none.
        MeshError: `beewire-cni` is not installed beside this Python, or on the PATH.
    """
    target = file or _first(paths)
    content = _read(target)
    changed = []
    link = paths.plugins / TYPE
    if not link.exists():
        paths.plugins.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(executable())
        changed.append(link)
    if not _has(content):
        content["plugins"].append({"type": TYPE, "capabilities": {ANNOTATIONS: True}})
        _write(target, content)
        changed.append(target)
    return tuple(changed)


def remove(paths: CniPaths) -> tuple[str, ...]:
    """Take Beewire's entry out of every configuration; the files that have changed."""
    changed = []
    for path in entries(paths):
        if path == paths.plugins / TYPE:
            path.unlink()
        else:
            content = _read(path)
            content["plugins"] = [
                each for each in content["plugins"] if each.get("type") != TYPE
            ]
            _write(path, content)
        changed.append(str(path))
    return tuple(changed)


def entries(paths: CniPaths) -> Iterator[Path]:
    """The configurations that have an entry of Beewire's, and the plugin's executable."""
    folder = paths.configurations
    for path in sorted(folder.glob("*.conflist")) if folder.is_dir() else ():
        try:
            if _has(_read(path)):
                yield path
        except UsageError:  # somebody else's fault
            continue
    link = paths.plugins / TYPE
    if link.is_symlink() or link.exists():
        yield link


def executable() -> Path:
    """The `beewire-cni` of this installation.

    Raises:
        MeshError: there is none.
    """
    beside = Path(sys.executable).with_name(TYPE)
    found = str(beside) if beside.exists() else shutil.which(TYPE)
    if found is None:
        raise MeshError(
            f"{TYPE} is neither in {beside.parent} nor on the PATH: `pip install beewire`"
            " puts it there"
        )
    return Path(found)


def _first(paths: CniPaths) -> Path:
    # Runtimes take the first of the directory by name (libcni, ConfFiles).
    found = sorted(paths.configurations.glob("*.conflist"))
    if not found:
        raise UsageError(
            f"there is no CNI configuration (*.conflist) in {paths.configurations}: the"
            " network's own plugin makes it; or name the file"
        )
    return found[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}") from error
    plugins = content.get("plugins") if isinstance(content, dict) else None
    if not isinstance(plugins, list) or not all(isinstance(p, dict) for p in plugins):
        raise UsageError(f"{path} has no list of plugins: it is no CNI configuration")
    found: dict[str, Any] = content
    return found


def _has(content: dict[str, Any]) -> bool:
    return any(each.get("type") == TYPE for each in content["plugins"])


def _write(path: Path, content: dict[str, Any]) -> None:
    # Runtimes watch the directory: they see the old file or the new one.
    fresh = path.with_name(f".{path.name}.bw-new")
    fresh.write_text(json.dumps(content, indent=2) + "\n")
    fresh.chmod(path.stat().st_mode & 0o777)
    fresh.rename(path)
