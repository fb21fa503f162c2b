"""Addresses of processes as functions."""

import os

from beewire.errors import ObjectError
from beewire.hints import Self
from beewire.rows import Row
from beewire.symbols.demangling import demangle
from beewire.symbols.elf import ElfFile
from beewire.symbols.image import Image, open_mapped
from beewire.symbols.mappings import Mapping, Mappings
from beewire.symbols.perfmap import PerfMap, Whereabouts, read_perf_map, whereabouts

# Descriptors that wait for their symbols to be asked for.
_MOST_OPEN = 256


class Frame(Row):
    """A function that an address lies in.

    `name` is "" where it is unknown; `module` is the file's name, "[vdso]", "[anon]", or
    for the kernel "" and a module's name; `kind` is "kernel", "user", "jit" or
    "unknown"; `offset` is how far behind the function's start the address lies.
    """

    name: str
    module: str
    kind: str
    offset: int = 0

    @property
    def label(self) -> str:
        """The name, or the module in brackets where there is none."""
        if self.name:
            return self.name
        if not self.module:
            return "[unknown]"
        return self.module if self.module.startswith("[") else f"[{self.module}]"


UNKNOWN = Frame("", "", "unknown")


class Images:
    """The files that processes have mapped, each opened once.

    A context manager that closes what is open.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[tuple[tuple[int, int], int], Image] = {}

    def of(self, pid: int, mapping: Mapping) -> Image:
        """The file of a mapping; opens it now, while the process may still live."""
        key = (mapping.device, mapping.inode)
        image = self._found.get(key)
        if image is None or (image.fault and not image.elf):
            fd = open_mapped(pid, mapping)
            image = Image(mapping.path, fd=fd, root=f"/proc/{pid}/root")
            self._found[key] = image
            self._limit()
        return image

    def _limit(self) -> None:
        """Read what was opened first, so that its descriptor may be closed."""
        if len(self._found) % _MOST_OPEN == 0:
            for image in self._found.values():
                image.table  # noqa: B018 - reads it
                image.close()

    def built_as(self, build_id: bytes) -> Image | None:
        """The file of a build, if a process that was looked into has it mapped.

        What is shorter than the 20 bytes that the kernel gives is filled up by zeros.
        """
        for image in self._found.values():
            own = image.build_id if image.elf else b""
            if own and build_id.rstrip(b"\0") == own.rstrip(b"\0"):
                return image
        return None

    def without_symbols(self) -> dict[str, str]:
        """Paths of files that told no names, and why."""
        return {each.path: each.fault for each in self._found.values() if each.fault}

    def close(self) -> None:
        """Give all descriptors back. Closing twice does nothing."""
        for image in self._found.values():
            image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Process:
    """One process: what it had mapped, and what its addresses mean.

    It can be asked after the process has ended, for what was noted before: `refresh`
    reads its mappings, `hold` opens the files that addresses lie in.
    """

    __slots__ = ("_images", "_perf_map", "_vdso", "_where", "mappings", "pid")

    def __init__(self, pid: int, images: Images) -> None:
        self.pid = pid
        self.mappings = Mappings()
        self._images = images
        self._where: Whereabouts | None = None
        self._perf_map: PerfMap | None = None
        self._vdso: Image | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Read its mappings again; False once it has ended, or is not ours to look into."""
        try:
            self.mappings.update(Mappings.read(self.pid))
        except OSError:
            lives = False
        else:
            lives = True
            self._where = self._where or whereabouts(self.pid)
        if self._where is not None:
            self._perf_map = read_perf_map(self._where) or self._perf_map
        return lives

    def hold(self) -> None:
        """Open all files that it has mapped, so that they can be read after its end."""
        for mapping in self.mappings:
            if mapping.is_file:
                self._images.of(self.pid, mapping)
            elif mapping.path == "[vdso]" and self._vdso is None:
                self._vdso = _read_vdso(self.pid, mapping)

    def image_at(self, address: int) -> tuple[Image | None, int]:
        """The file, or the vDSO, that has the code of an address, and where in it."""
        mapping = self.mappings.find(address)
        if mapping is None:
            return None, 0
        offset = address - mapping.start + mapping.offset
        if mapping.is_file:
            return self._images.of(self.pid, mapping), offset
        if mapping.path == "[vdso]":
            self._vdso = self._vdso or _read_vdso(self.pid, mapping)
            return self._vdso, offset
        return None, 0

    def frame(self, address: int) -> Frame:
        """The function that `address` lies in."""
        image, offset = self.image_at(address)
        frame = None if image is None else frame_in(image, offset)
        if frame is not None and frame.name:
            return frame
        # Some compilers put their code into files of their own, which have no names.
        name = self._perf_map.find(address) if self._perf_map else None
        if name is not None:
            return Frame(name, "[jit]", "jit")
        if frame is not None:
            return frame
        mapping = self.mappings.find(address)
        if mapping is None:
            return UNKNOWN
        path = mapping.path if mapping.path.startswith("[") else "[anon]"
        return Frame("", path, "unknown")


def frame_in(image: Image, offset: int) -> Frame:
    """The function of the byte at `offset` of a file."""
    symbol = image.find(offset)
    if symbol is None:
        return Frame("", image.name, "unknown")
    address = image.elf.address_at(offset) if image.elf else None
    behind = (address or symbol.address) - symbol.address
    return Frame(demangle(symbol.name), image.name, "user", behind)


def _read_vdso(pid: int, mapping: Mapping) -> Image:
    """The vDSO as a process has it; all of one machine word have the same."""
    for place in (pid, "self"):
        try:
            fd = os.open(f"/proc/{place}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            span = mapping
            if place == "self":
                own = Mappings.read(os.getpid())
                span = next((m for m in own if m.path == "[vdso]"), mapping)
            data = os.pread(fd, span.end - span.start, span.start)
            return Image("[vdso]", elf=ElfFile.of(data))
        except (OSError, ObjectError):
            continue
        finally:
            os.close(fd)
    return Image("[vdso]")
