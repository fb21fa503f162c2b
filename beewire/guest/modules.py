"""A kernel's modules: which files one needs, in the order in which they load."""

import gzip
import lzma
from pathlib import Path

from beewire.errors import GuestError


class Modules:
    """The modules of one kernel, in `/lib/modules/<release>` of its package."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._needs = _read_dependencies(directory / "modules.dep")
        self._paths = {module_name(path): path for path in self._needs}
        built_in = _read_lines(directory / "modules.builtin")
        self._built_in = {module_name(path) for path in built_in}

    def __contains__(self, name: str) -> bool:
        """Whether the kernel has this module, as a file or built in."""
        return name in self._paths or name in self._built_in

    def closure(self, names: tuple[str, ...]) -> list[str]:
        """The files that load `names`, each behind what it needs; relative paths.

        What is built in needs no file.

        Raises:
            GuestError: the kernel has no such module.
        """
        found: dict[str, None] = {}
        for name in names:
            if name not in self:
                raise GuestError(
                    f"the kernel of {self._directory.name} has no module {name}"
                )
            if path := self._paths.get(name):
                # modules.dep names the nearest need first.
                found |= dict.fromkeys([*reversed(self._needs[path]), path])
        return list(found)

    def read(self, path: str) -> bytes:
        """The module in the file `path`, decompressed.

        Raises:
            GuestError: it is compressed in a way that Python's library does not know.
        """
        data = (self._directory / path).read_bytes()
        if path.endswith(".ko"):
            return data
        if path.endswith(".xz"):
            return lzma.decompress(data)
        if path.endswith(".gz"):
            return gzip.decompress(data)
        raise GuestError(f"{path} is neither plain nor compressed by xz or gzip")


def module_name(path: str) -> str:
    """The name of the module in the file `path`, as lsmod(8) shows it."""
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _read_dependencies(file: Path) -> dict[str, list[str]]:
    parts = (line.partition(":") for line in _read_lines(file))
    return {path: needs.split() for path, _, needs in parts}


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError as error:
        raise GuestError(f"{file} cannot be read: {error.strerror}") from error
