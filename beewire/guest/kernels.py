"""Debian's kernels: which one a name means, and where it lies unpacked.

~/.cache/beewire/guest/
apt/              the package lists
kernels/RELEASE/  lib/modules/RELEASE/{vmlinuz,config,modules.dep,kernel/...}
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beewire.bpf.kernel.btf_cache import cache_directory
from beewire.errors import GuestError, UsageError
from beewire.guest import tools
from beewire.guest.archive import Archive, Tell

MATRIX = ("5.10", "6.1", "6.12", "6.18", "newest")
"""The kernels that Beewire is tested under."""

# A small kernel for virtual machines; the full one has more drivers, and 9p.
CLOUD = "cloud-amd64"
FULL = "amd64"

_IMAGE = "linux-image-"
_NAME = re.compile(r"newest|\d+(?:\.\d+){1,2}")
_RELEASE = re.compile(r"\d+\.\d+\.\d+\S*")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can be booted: its release (uname -r) and where it was unpacked."""

    release: str
    root: Path

    @property
    def modules(self) -> Path:
        """The directory of its modules."""
        return self.root / "lib/modules" / self.release

    @property
    def image(self) -> Path:
        """The compressed kernel."""
        return self.modules / "vmlinuz"


def obtain(name: str, tell: Tell = lambda _: None, *, flavour: str = CLOUD) -> Kernel:
    """The kernel that `name` means, downloaded and unpacked if it was not before.

    `name` is a series ("6.12": its last release), a version ("6.12.117"), a release as
    uname -r shows it, "newest", or a directory with a kernel: an unpacked package, or
    what `make modules_install` wrote. `tell` is told what takes its time. Where the
    mirror cannot be reached, a kernel of that name from before serves.

    Raises:
        UsageError: `name` is none of these.
        GuestError: the mirror has no such kernel, or it cannot be had.
    """
    if "/" in name:
        return _from_directory(Path(name))
    if not _NAME.fullmatch(name) and not _RELEASE.fullmatch(name):
        raise UsageError(
            f"{name!r} is no kernel: say a series (6.12), a release (6.12.117), newest,"
            " or a directory that has one"
        )
    place = directory()
    with _locked(place):
        archive = Archive(place / "apt")
        try:
            packages = archive.packages(tell)
            release = choose(name, _releases(packages), flavour)
        except GuestError as error:
            return _before(place, name, flavour, error)
        kernel = Kernel(release, place / "kernels" / release)
        if not kernel.root.exists():
            tools.require("depmod")
            image = packages[f"{_IMAGE}{release}"]
            # The mirror may have dropped a small part that nothing here needs.
            parts = [packages[name] for name in image.parts if name in packages]
            _unpack([archive.download(part, tell) for part in (image, *parts)], kernel)
            _clean(place, kernel)
        return kernel


def choose(name: str, releases: Iterable[str], flavour: str) -> str:
    """Of `releases`, the highest that `name` means.

    Raises:
        GuestError: there is none.
    """
    found = [each for each in releases if _means(name, each, flavour)]
    if not found:
        raise GuestError(f"Debian's archive has no kernel {name} (flavour {flavour})")
    return max(found, key=_numbers)


def cached() -> list[Kernel]:
    """The kernels that are unpacked in the cache, the oldest first."""
    names = (path.name for path in (directory() / "kernels").glob("[0-9]*"))
    return [
        Kernel(name, directory() / "kernels" / name)
        for name in sorted(names, key=_numbers)
    ]


def clean() -> list[str]:
    """Remove every kernel of the cache; gives their releases."""
    with _locked(directory()):
        gone = cached()
        for kernel in gone:
            shutil.rmtree(kernel.root)
        shutil.rmtree(directory() / "apt", ignore_errors=True)
    return [kernel.release for kernel in gone]


def directory() -> Path:
    """Where kernels are kept; made for this user alone."""
    place = Path(cache_directory()) / "guest"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _means(name: str, release: str, flavour: str) -> bool:
    version, _, rest = release.partition("-")
    # 6.1.0-56-cloud-amd64 counts builds, 6.12.117+deb12-cloud-amd64 does not.
    if not re.fullmatch(rf"(?:\d+-)?{flavour}", rest) or version.count(".") != 2:
        return False
    version = version.partition("+")[0]
    return name in {"newest", release, version, version.rpartition(".")[0]}


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", release))


def _before(place: Path, name: str, flavour: str, error: GuestError) -> Kernel:
    known = [path.name for path in (place / "kernels").glob("[0-9]*")]
    try:
        release = choose(name, known, flavour)
    except GuestError:
        raise error from None
    return Kernel(release, place / "kernels" / release)


def _releases(packages: Iterable[str]) -> list[str]:
    images = (name for name in packages if name.startswith(_IMAGE))
    return [name.removeprefix(_IMAGE) for name in images]


def _unpack(files: list[Path], kernel: Kernel) -> None:
    kernel.root.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=kernel.root.parent) as new:
        for file in files:
            _call("dpkg-deb", "-x", str(file), f"{new}/deb")
        _arrange(Path(new) / "deb", Path(new) / "root", kernel.release)
        # Whoever finds the directory finds all of it.
        (Path(new) / "root").rename(kernel.root)
    for file in files:
        file.unlink()


def _arrange(unpacked: Path, root: Path, release: str) -> None:
    # Linux 7's packages have all in usr/lib/modules/RELEASE; older ones are put so.
    modules = root / "lib/modules" / release
    modules.parent.mkdir(parents=True)
    old, new = (unpacked / top / "modules" / release for top in ("lib", "usr/lib"))
    (old if old.exists() else new).rename(modules)
    for name in ("vmlinuz", "config"):
        apart = unpacked / "boot" / f"{name}-{release}"
        if apart.exists():
            apart.rename(modules / name)
    if not (modules / "vmlinuz").exists():
        raise GuestError(f"the packages of Linux {release} have no kernel in them")
    _call("depmod", "-b", str(root), release)


def _clean(place: Path, kept: Kernel) -> None:
    # A series' older releases: nobody asks for them again by the series' name.
    version, _, flavour = kept.release.partition("-")
    flavour = flavour.lstrip("0123456789-")
    series = version.rpartition(".")[0]
    for path in (place / "kernels").glob("[0-9]*"):
        is_older = _means(series, path.name, flavour) and path.name != kept.release
        if is_older and _is_unused(path):
            shutil.rmtree(path)


def _is_unused(root: Path) -> bool:
    # A guest that runs holds a shared lock on its kernel's directory.
    with opened(root) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def in_use(kernel: Kernel) -> Iterator[None]:
    """Keep `kernel` from being cleaned away in the block."""
    with opened(kernel.root) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of the directory `path`."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    with opened(place) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _from_directory(root: Path) -> Kernel:
    for top in (root, root / "usr"):
        for image in (top / "lib/modules").glob("*/vmlinuz"):
            return Kernel(image.parent.name, top)
    raise GuestError(
        f"{root} has no lib/modules/RELEASE/vmlinuz: it is no kernel that can be booted"
    )


def _call(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [tools.path(program), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        error = GuestError(f"{program} failed: {' '.join(arguments)}")
        error.add_note(done.stderr.strip()[-500:])
        raise error
