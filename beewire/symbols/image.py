"""One mapped file, or the vDSO: its functions, wherever their names are kept."""

import os

from beewire.errors import ObjectError
from beewire.symbols.cfi import UnwindTable
from beewire.symbols.debug import debug_file, mini_debug_info
from beewire.symbols.elf import ElfFile
from beewire.symbols.mappings import Mapping
from beewire.symbols.table import SymbolTable, UserSymbol


class Image:
    """A program or library: functions by their place in the file.

    It owns a descriptor until it is closed, and keeps what was read before. `build_id` is
    known once `elf` was asked for; `fault` says why it has no symbols, where that is so.
    """

    __slots__ = ("_elf", "_fd", "_table", "build_id", "fault", "path", "root")

    def __init__(
        self, path: str, *, fd: int = -1, elf: ElfFile | None = None, root: str = ""
    ) -> None:
        """The file behind `fd`, which is the image's from here on, or `elf` itself.

        `path` names it to its processes, `root` is where those have their root.
        """
        self.path, self.root = path, root
        self.fault = ""
        self.build_id = b""
        self._fd, self._elf = fd, elf
        self._table: SymbolTable | None = None
        if fd < 0 and elf is None:
            self.fault = "it could not be opened"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def elf(self) -> ElfFile | None:
        """Its headers; None where it is no ELF file, or could not be opened."""
        if self._elf is None and self._fd >= 0:
            try:
                self._elf = ElfFile.open(self._fd)
                self.build_id = self._elf.build_id
            except ObjectError as error:
                self.fault = str(error)
                self.close()
        return self._elf

    def find(self, offset: int) -> UserSymbol | None:
        """The function of the byte at `offset` of the file; None where there is no name."""
        if self.elf is None:
            return None
        address = self.elf.address_at(offset)
        return None if address is None else self.table.find(address)

    @property
    def table(self) -> SymbolTable:
        """Its functions by address; empty where it has none."""
        if self._table is None:
            self._table = self._read()
        return self._table

    def unwind_table(self) -> UnwindTable | None:
        """Its unwind table; None where it has none."""
        if self.elf is None:
            return None
        try:
            return UnwindTable(self.elf)
        except ObjectError:
            return None

    def _read(self) -> SymbolTable:
        main = self.elf
        if main is None:
            return SymbolTable(())
        try:
            table = self._all(main)
        except ObjectError as error:
            self.fault = str(error)
            return SymbolTable(())
        if next(iter(table), None) is None:
            self.fault = "it was stripped, and no file with its symbols is installed"
        return table

    def _all(self, main: ElfFile) -> SymbolTable:
        """Symbols of the file, and where it was stripped, of those made from it."""
        if main.section(".symtab") is not None:
            return SymbolTable((main,))
        fd = debug_file(main, self.path, self.root)
        if fd >= 0:
            try:
                return SymbolTable((main, ElfFile.open(fd)))
            finally:
                os.close(fd)
        mini = mini_debug_info(main)
        return SymbolTable((main,) if mini is None else (main, mini))

    def close(self) -> None:
        """Give the descriptor back; what was read stays. Closing twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_mapped(pid: int, mapping: Mapping) -> int:
    """A descriptor of the very file that a process has mapped, or -1.

    Also of one that was deleted, or lies in a container (/proc/PID/map_files), while the
    process lives; then of a file of the same name, if it is the same file.
    """
    span = f"{mapping.start:x}-{mapping.end:x}"
    fd = _open(f"/proc/{pid}/map_files/{span}")
    if fd >= 0:
        return fd
    for path in (f"/proc/{pid}/root{mapping.path}", mapping.path):
        fd = _open(path)
        if fd < 0:
            continue
        # Devices differ on overlayfs and btrfs, inodes do not.
        if os.fstat(fd).st_ino == mapping.inode:
            return fd
        os.close(fd)
    return -1


def _open(path: str) -> int:
    try:
        # Without waiting: a device or a FIFO may have been put in the place.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return -1
