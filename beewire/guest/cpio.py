"""Archives that Linux unpacks at boot: cpio in its "newc" form.

Linux's Documentation/driver-api/early-userspace/buffer-format.rst has the format. Several
archives one after the other are one initramfs.
"""

import stat

_MAGIC = "070701"
_END = "TRAILER!!!"


class Archive:
    """An archive that grows by files; everything in it belongs to root.

    Directories have to be added before what is in them: Linux makes none by itself.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def directory(self, name: str) -> None:
        """Add a directory."""
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, *, executable: bool = False) -> None:
        """Add a file with this `content`."""
        mode = 0o755 if executable else 0o644
        self._add(name, stat.S_IFREG | mode, content)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def to_bytes(self) -> bytes:
        """The archive, complete; more may be added afterwards."""
        return bytes(self._data) + _entry(_END, 0, 0, b"", (0, 0))

    def _add(
        self,
        name: str,
        mode: int,
        content: bytes = b"",
        device: tuple[int, int] = (0, 0),
    ) -> None:
        self._inode += 1
        self._data += _entry(name, mode, self._inode, content, device)


def _entry(
    name: str, mode: int, inode: int, content: bytes, device: tuple[int, int]
) -> bytes:
    named = name.encode() + b"\0"
    user = group = time = checksum = 0
    links = 1
    place = (0, 0)  # the device that the file was on
    fields = (
        *(inode, mode, user, group, links, time, len(content)),
        *(*place, *device, len(named), checksum),
    )
    header = _MAGIC + "".join(f"{field:08X}" for field in fields)
    return _padded(header.encode() + named) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
