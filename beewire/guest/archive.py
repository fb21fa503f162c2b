"""Debian's archive, asked through an apt that is set apart from the machine's own.

Its sources, lists and cache are below one directory of ours: nothing of the machine's apt
changes, and no root is needed. The mirror is the one that the machine's apt uses. apt
checks the signature of every index, and each package against the index; the size and
SHA-256 are checked here once more before anything is unpacked.
"""

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

from beewire.errors import GuestError
from beewire.guest import tools

MIRROR = "BEEWIRE_DEBIAN_MIRROR"
"""The environment variable that names another mirror than the machine's."""

# 5.10 is Debian 11's kernel, 6.1 that of 12, 6.12 that of 13; the backports have those
# between, and unstable what is to come.
_MAIN = ("bullseye", "bookworm", "trixie", "trixie-backports", "sid")
_SECURITY = ("bullseye-security", "bookworm-security", "trixie-security")
_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
_RELEASES = "buster|bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing"
_OURS = re.compile(rf"(?:{_RELEASES}|unstable|oldoldstable)(?:[-/].*)?")
_DAY = 86400.0
_OF_KERNELS = r"^linux-(image|base|binary|modules)-[0-9].*-amd64$"
_PARTS = re.compile(r"linux-(?:base|binary|modules)-\d[^ ,]*")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the archive: what its signed index says of it."""

    name: str
    version: str
    size: int
    sha256: str
    depends: str

    @property
    def parts(self) -> list[str]:
        """The packages that a kernel is split into: from Linux 6.18 on there are some."""
        return _PARTS.findall(self.depends)


class Archive:
    """Debian's archive as the mirror has it; what is read of it stays in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def packages(self, tell: Tell) -> dict[str, Package]:
        """Every package of a kernel for x86-64, by its name; read again once a day.

        Raises:
            GuestError: apt is missing, no mirror is known, or it cannot be read.
        """
        known = self._directory / "kernels.json"
        if _age(known) < _DAY:
            return _decoded(known.read_text())
        for name in ("lists/partial", "cache/archives/partial"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        (self._directory / "sources.list").write_text(_sources(*_mirrors()))
        tell("reading the package lists of Debian's archive")
        done = self._run("apt-get", "update", "-o", "Acquire::Languages=none")
        found = self._indexed()
        # A release that left the mirror fails by itself; what is there can be used.
        if not found:
            raise _refused("read the mirror's package lists", done)
        known.write_text(json.dumps([astuple(package) for package in found]))
        return {package.name: package for package in found}

    def _indexed(self) -> list[Package]:
        listed = self._run("apt-cache", "search", "--names-only", _OF_KERNELS)
        names = [line.partition(" ")[0] for line in listed.stdout.splitlines()]
        if not names:
            return []
        told = self._run("apt-cache", "show", "--no-all-versions", *names).stdout
        return [_package(paragraph) for paragraph in told.split("\n\n") if paragraph]

    def download(self, package: Package, tell: Tell) -> Path:
        """The file of `package`, checked; one that was downloaded before is used.

        Raises:
            GuestError: it cannot be had, or is not what the index says.
        """
        folder = self._directory / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / _file_name(package)
        if not _is(file, package):
            tell(f"downloading {package.name} ({package.size / 1e6:.0f} MB)")
            wanted = f"{package.name}={package.version}"
            done = self._run("apt-get", "download", wanted, folder=folder)
            if done.returncode != 0:
                raise _refused(f"download {wanted}", done)
        if not _is(file, package):
            file.unlink(missing_ok=True)
            raise GuestError(
                f"{file.name} is not what Debian's signed index says: its size or"
                " SHA-256 differs; it was removed, try again"
            )
        return file

    def _run(
        self, *command: str, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        # An own status file: what is installed on the machine plays no part.
        options = {
            "Dir::Etc::sourcelist": f"{self._directory}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": str(self._directory),
            "Dir::State::status": "/dev/null",
            "Dir::Cache": f"{self._directory}/cache",
            "Debug::NoLocking": "1",  # the cache's lock is ours
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "",  # the directory is closed to apt's own user
            "Acquire::Retries": "3",
        }
        return subprocess.run(
            [
                *command,
                *(f"--option={name}={value}" for name, value in options.items()),
            ],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def _package(paragraph: str) -> Package:
    fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
    return Package(
        fields["Package"],
        version=fields["Version"],
        size=int(fields["Size"]),
        sha256=fields["SHA256"],
        depends=fields.get("Depends", ""),
    )


def _decoded(text: str) -> dict[str, Package]:
    packages = (Package(*fields) for fields in json.loads(text))
    return {package.name: package for package in packages}


def _mirrors() -> tuple[str, str | None]:
    # What the machine's apt reads Debian from: (archive, security archive).
    tools.require("apt-get", "apt-cache", "dpkg-deb")
    if given := os.environ.get(MIRROR):
        return given.rstrip("/"), None
    done = subprocess.run(
        [
            *("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)"),
            *("Created-By: Packages", "Component: main"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split() for line in done.stdout.splitlines()]
    debian = [(uri, release) for uri, release in found if _OURS.fullmatch(release)]
    main = [uri for uri, release in debian if not _is_security(release)]
    if not main:
        raise GuestError(
            "this machine's apt has no source of Debian to take kernels from: set"
            f" {MIRROR} to the address of a mirror"
        )
    security = [uri for uri, release in debian if _is_security(release)]
    return main[0].rstrip("/"), security[0].rstrip("/") if security else None


def _is_security(release: str) -> bool:
    return release.endswith(("-security", "/updates"))


def _sources(mirror: str, security: str | None) -> str:
    keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
    if keyring is None:
        raise GuestError(
            "Debian's keys are not on this machine: install debian-archive-keyring"
        )
    places = [(mirror, suite) for suite in _MAIN]
    if security:
        places += [(security, suite) for suite in _SECURITY]
    return "".join(
        f"deb [signed-by={keyring}] {uri} {suite} main\n" for uri, suite in places
    )


def _file_name(package: Package) -> str:
    # apt writes an epoch's colon as %3a.
    return f"{package.name}_{package.version.replace(':', '%3a')}_amd64.deb"


def _is(file: Path, package: Package) -> bool:
    if not file.exists() or file.stat().st_size != package.size:
        return False
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == package.sha256


def _age(file: Path) -> float:
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return float("inf")


def _refused(what: str, done: subprocess.CompletedProcess[str]) -> GuestError:
    error = GuestError(f"apt could not {what}")
    for line in (done.stderr or done.stdout).splitlines()[-3:]:
        error.add_note(line)
    return error
