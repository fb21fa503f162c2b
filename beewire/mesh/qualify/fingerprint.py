"""What verdicts hold for: one boot of one kernel, and the programs as they are."""

import os
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import beewire

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NOTES = Path("/sys/kernel/notes")  # with the build id, which even rebuilds change
_LIVEPATCHES = Path("/sys/kernel/livepatch")
# What the programs are, what compiles them, and what judges them.
_SOURCES = ("mesh/programs", "mesh/qualify", "bpf/lang", "bpf/ir", "bpf/codegen")


class Fingerprint(NamedTuple):
    """Equal ones: verdicts of one hold for the other."""

    boot: str
    release: str
    build: str
    livepatches: str
    programs: str

    def difference(self, other: "Fingerprint") -> str:
        """What has changed from this one to `other`, in words; "" if nothing has."""
        changes = {
            "release": f"the kernel was {self.release} and is {other.release}",
            "build": f"the kernel {other.release} was built anew",
            "boot": "the machine was started anew",
            "livepatches": f"the kernel's live patches were {self.livepatches or 'none'}"
            f" and are {other.livepatches or 'none'}",
            "programs": "Beewire's programs have changed",
        }
        for name, says in changes.items():
            if getattr(self, name) != getattr(other, name):
                return says
        return ""


def fingerprint() -> Fingerprint:
    """That of the running kernel and of this Beewire."""
    system = os.uname()
    return Fingerprint(
        boot=_BOOT.read_text().strip(),
        release=system.release,
        build=_digest(_read(_NOTES), system.version.encode()),
        livepatches=",".join(_livepatches()),
        programs=_programs(),
    )


def _livepatches() -> list[str]:
    # A live patch changes the kernel without a new boot.
    if not _LIVEPATCHES.is_dir():
        return []
    return sorted(
        path.name
        for path in _LIVEPATCHES.iterdir()
        if _read(path / "enabled").strip() == b"1"
    )


@cache
def _programs() -> str:
    root = Path(beewire.__file__).parent
    files = sorted(
        file for folder in _SOURCES for file in (root / folder).rglob("*.py")
    )
    return _digest(beewire.__version__.encode(), *(file.read_bytes() for file in files))


def _digest(*parts: bytes) -> str:
    made = blake2b(digest_size=8)
    for part in parts:
        made.update(len(part).to_bytes(8, "little") + part)
    return made.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
