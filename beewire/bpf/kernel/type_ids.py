"""The BTF of one object in the kernel: one descriptor for all its programs and maps."""

import errno

from beewire.bpf.btf import Builder, DeclTag, Kind, Type
from beewire.bpf.kernel import attr, syscall
from beewire.bpf.kernel.descriptor import Descriptor
from beewire.errors import KernelError, NotPermitted, NotSupported
from beewire.hints import Iterable


class TypeIds(Descriptor):
    """Gives out type ids while the object is assembled, then lives as a descriptor.

    `fd` is -1 until `load`, and stays so for an object without types.
    """

    __slots__ = ("_maps", "builder", "empty")

    def __init__(self) -> None:
        super().__init__(-1)
        self.builder = Builder()
        self.empty = True
        self._maps: dict[str, tuple[int, int]] = {}

    @property
    def fd(self) -> int:
        """The BTF descriptor, or -1: maps and programs then go without."""
        return self._fd

    def describe(self, name: str, key: Type | None, value: Type) -> None:
        """Add the types of the map or data section `name`."""
        self.empty = False
        self._maps[name] = self.builder.add(key), self.builder.add(value)

    def add(self, node: Type) -> None:
        """Add a type that is found by its name."""
        self.empty = False
        self.builder.add(node)

    def tag(self, tags: Iterable[DeclTag]) -> None:
        """Add those of `tags` that are on types which are there already."""
        for tag in tags:
            if self.builder.knows(tag.to):
                self.builder.add(tag)

    def fields(self, name: str) -> dict[str, int]:
        """What BPF_MAP_CREATE is told of the types of `name`: nothing if it has none."""
        if name not in self._maps or self.fd < 0:
            return {}
        key, value = self._maps[name]
        return {
            "btf_fd": self.fd,
            "btf_key_type_id": key,
            "btf_value_type_id": value,
        }

    def load(self, name: str) -> None:
        """Hand the types to the kernel (BPF_BTF_LOAD), if there are any.

        Raises:
            KernelError: the kernel refuses them; its reason is in a note.
        """
        if self.empty:
            return
        blob = self.builder.encode()
        try:
            self._fd = _load(blob, name)
        except (NotPermitted, NotSupported):
            raise
        except KernelError as error:
            older = _for_older(blob) if error.errno == errno.EINVAL else blob
            if older == blob:
                raise
            self._fd = _load(older, name)


def _load(content: bytes, name: str) -> int:
    blob = bytearray(content)
    fields = {"btf": syscall.address(blob), "btf_size": len(blob)}
    about = f"load the type information of {name!r}"
    try:
        return syscall.bpf(syscall.Cmd.BTF_LOAD, attr.BTF_LOAD.pack(**fields), about)
    except (NotPermitted, NotSupported):
        raise
    except KernelError as error:
        error.add_note(_log(fields))
        raise


# Kinds that came after Linux 5.2, by what `features` calls them.
_NEWER = {
    "floats": Kind.FLOAT,
    "declaration tags": Kind.DECL_TAG,
    "type tags": Kind.TYPE_TAG,
    "enums of 64 bits": Kind.ENUM64,
}


def _for_older(blob: bytes) -> bytes:
    """`blob`, said by the kinds of types that this kernel knows."""
    from beewire.bpf.btf import older  # noqa: PLC0415 - on older kernels only
    from beewire.bpf.kernel import features  # noqa: PLC0415

    unknown = [kind for name, kind in _NEWER.items() if not features.btf(name)]
    signed = features.btf("signed enums").available
    return older.without(blob, frozenset(unknown), signed_enums=signed)


def _log(fields: dict[str, int]) -> str:
    """Why, in the kernel's words: the same call once more, with a log."""
    from beewire.bpf.kernel.log_buffer import call_with_log  # noqa: PLC0415 - errors only

    def call(size: int, place: int) -> tuple[int, int]:
        log = {"btf_log_buf": place, "btf_log_size": size, "btf_log_level": 1}
        record = attr.BTF_LOAD.pack(**fields, **log)
        fd = syscall.try_bpf(syscall.Cmd.BTF_LOAD, record)
        return fd, attr.BTF_LOAD.integer(record, "btf_log_true_size")

    fd, text = call_with_log(call)
    if fd >= 0:
        Descriptor(fd).close()
        return "a second try succeeded"
    text = text.strip()
    cut = " (cut)" if fd == -errno.ENOSPC else ""
    return f"the kernel says{cut}: {text}" if text else "the kernel gives no reason"
