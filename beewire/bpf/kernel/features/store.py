"""The answers of probes, kept for this boot: text by name.

The file lies beside the index of the kernel's types, in a directory that only this user
may enter. It holds for one boot, the privileges that the process has and the probes as
they are; when any of that is another, or its checksum is wrong, the kernel is asked anew.
What is found is written when the process ends.
"""

import atexit
import os
from binascii import crc32

from beewire import __version__
from beewire.bpf.kernel import btf_cache, privilege, syscall

_MAGIC = "beewire features 1"
_LIMIT = 1 << 20
_PREFIX = "features-"

_answers: dict[str, str] = {}
_lasting: set[str] = set()  # names whose answers belong in the file
_state = {"read": False, "changed": False}


def known(name: str) -> str | None:
    """The answer that is kept under `name`, or None."""
    if not syscall.asks_kernel():
        return None
    if not _state["read"]:
        _state["read"] = True
        kept = _read()
        _lasting.update(kept)
        for each, text in kept.items():
            _answers.setdefault(each, text)
    return _answers.get(name)


def keep(name: str, text: str, lasting: bool = True) -> None:  # noqa: FBT001, FBT002 - a fact
    """Keep an answer for this process and, if it is `lasting`, for this boot."""
    if not syscall.asks_kernel():
        return
    _answers[name] = text
    if lasting and "\n" not in text:
        if not _state["changed"]:
            atexit.register(save)
        _lasting.add(name)
        _state["changed"] = True


def forget() -> None:
    """Ask the kernel anew from now on, whatever is kept."""
    _answers.clear()
    _lasting.clear()
    _state.update(read=True, changed=False)


def save() -> None:
    """Write what is new to the file; where that cannot be done, it is not."""
    directory = btf_cache.cache_directory()
    if not _state["changed"] or not btf_cache.is_private(directory):
        return
    # Another process may have found out other things meanwhile.
    lasting = _read() | {name: _answers[name] for name in _lasting}
    lines = [
        _identity(),
        *(f"{name}\t{text}" for name, text in sorted(lasting.items())),
    ]
    body = "\n".join(lines).encode()
    head = f"{_MAGIC} {crc32(body):08x} {len(body)}\n".encode()
    btf_cache.replace(_path(directory), head + body)
    _state["changed"] = False
    _sweep(directory)


def _read() -> dict[str, str]:
    directory = btf_cache.cache_directory()
    if not btf_cache.is_private(directory):
        return {}
    content = btf_cache.read_own(_path(directory), _LIMIT) or b""
    head, _, body = content.partition(b"\n")
    if head.decode(errors="replace") != f"{_MAGIC} {crc32(body):08x} {len(body)}":
        return {}
    identity, *lines = body.decode().split("\n")
    if identity != _identity():
        return {}
    return dict(line.split("\t", 1) for line in lines)


def _identity() -> str:
    """Everything that an answer depends on, in one line."""
    return f"{_boot()} {_privileges()} {_modules()} {__version__} {_code()}"


def _boot() -> str:
    return privilege.read_text("/proc/sys/kernel/random/boot_id")


def _privileges() -> str:
    try:
        namespace = os.stat("/proc/self/ns/user").st_ino  # noqa: PTH116 - no pathlib here
    except OSError:
        namespace = 0
    return ":".join((
        str(os.geteuid()),
        privilege.effective(),
        str(namespace),
        str(int(privilege.filtered())),
        privilege.lockdown(),
        privilege.read_text("/proc/sys/kernel/unprivileged_bpf_disabled"),
    ))  # fmt: skip


def _modules() -> str:
    """Which modules are loaded: some bring functions and types of maps along."""
    lines = privilege.read_text("/proc/modules").split("\n")
    names = sorted(line.partition(" ")[0] for line in lines)
    return f"{crc32(' '.join(names).encode()):08x}"


def _code() -> str:
    """When the probes were last changed: an editor of them wants to see new answers."""
    folder = os.path.dirname(__file__)  # noqa: PTH120 - as above
    with os.scandir(folder) as found:
        newest = max(each.stat().st_mtime_ns for each in found if each.is_file())
    return f"{newest:x}"


def _path(directory: str) -> str:
    return f"{directory}/{_PREFIX}{crc32(_identity().encode()):08x}"


def _sweep(directory: str) -> None:
    """Remove what earlier boots left, and other answers of this one to these privileges."""
    own, (boot, privileges, *_) = _path(directory), _identity().split(" ")
    with os.scandir(directory) as found:
        paths = [each.path for each in found if each.name.startswith(_PREFIX)]
    for path in paths:
        content = btf_cache.read_own(path, _LIMIT) or b""
        words = (
            content.partition(b"\n")[2]
            .partition(b"\n")[0]
            .decode(errors="replace")
            .split(" ")
        )
        others = words[0] == boot and words[1:2] != [privileges]
        if path != own and not others:
            try:
                os.unlink(path)  # noqa: PTH108 - as above
            except OSError:
                continue
