"""How many of the kernel's own BPF selftest programs load through Beewire?

    .venv/bin/python scripts/selftests.py [--package linux-source-6.12] [--clang clang-19] [--json FILE]

Fetches Debian's kernel source, builds `tools/testing/selftests/bpf/progs` with clang and
that source's libbpf headers, and loads each object twice: through `beewire.bpf`, and
through libbpf of the same source (or of the system), which is the measure of what this
kernel takes. Nothing of the kernel's source is kept in this repository: it is GPL-2.0.

Needs root, apt-get, clang, bpftool, gcc and make. All work is done below a cache
directory (--cache, by default ~/.cache/beewire/selftests), and what is there is not
made again.

Two counts come out. Objects: a file loads when all of its programs that ask for it
(`SEC("?...")` do not) are in the kernel. Programs: each is loaded by itself, with the
others off, and counts as expected to load when libbpf loads it: many selftests are there
to be refused by the verifier.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from beewire.bpf.kernel import load
from beewire.bpf.object import read
from beewire.errors import BeewireError, VerifierError

PROGS = "tools/testing/selftests/bpf/progs"
SECONDS, MEMORY = 120, 8 << 30  # for one object, and its process
REFUSED = "verifier"

# --- fetch and build ---


def run(*command: str, cwd: Path | None = None, log: Path | None = None) -> int:
    with Path(log or os.devnull).open("w") as out:
        done = subprocess.run(command, cwd=cwd, stdout=out, stderr=out, check=False)
    return done.returncode


def say(text: str) -> None:
    print(f"selftests: {text}", file=sys.stderr)


def fetch(cache: Path, package: str) -> Path:
    """The kernel's source as Debian has it: only the parts that are needed."""
    tree = cache / package
    if (tree / PROGS).is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    say(f"fetching {package}")
    if run("apt-get", "download", package, cwd=cache, log=cache / "fetch.log"):
        sys.exit(f"apt-get could not download {package}: see {cache / 'fetch.log'}")
    (archive,) = cache.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(cache / "deb")], check=True)
    (source,) = (cache / "deb/usr/src").glob(f"{package}.tar.*")
    parts = [f"{package}/{part}" for part in ("tools", "scripts", "include/uapi")]
    subprocess.run(["tar", "-xf", str(source), *parts], cwd=cache, check=True)
    return tree


def libbpf(cache: Path, tree: Path) -> tuple[Path, Path]:
    """Headers of the source's libbpf, and its shared library or the system's."""
    out, root = cache / "libbpf", cache / "libbpf/root"
    out.mkdir(exist_ok=True)
    log = cache / "libbpf.log"
    built = sorted(out.glob("libbpf.so.*.*"))
    if not built or not root.is_dir():
        command = ["make", "-C", str(tree / "tools/lib/bpf"), f"OUTPUT={out}/"]
        command += [f"DESTDIR={root}", "prefix=/usr"]
        if run(*command, "install_headers", log=log):
            sys.exit(f"libbpf's headers cannot be made: see {log}")
        if run(*command, "all", log=log):
            say(f"libbpf cannot be built, the system's is used: see {log}")
        built = sorted(out.glob("libbpf.so.*.*"))
    return root / "usr/include", built[0] if built else Path("libbpf.so.1")


def flags(cache: Path, tree: Path, headers: Path, clang: str) -> list[str]:
    """What clang is told, as the selftests' own Makefile tells it."""
    types = cache / "include"
    types.mkdir(exist_ok=True)
    if not (types / "vmlinux.h").exists():
        command = ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"]
        with (types / "vmlinux.h").open("w") as file:
            subprocess.run([*command, "format", "c"], stdout=file, check=True)
    machine = os.uname().machine
    resources = subprocess.check_output([clang, "-print-resource-dir"], text=True)
    include = [types, (tree / PROGS).parent, headers, tree / "tools/include/uapi"]
    later = [f"{resources.strip()}/include", f"/usr/include/{machine}-linux-gnu"]
    options = ["-g", "-O2", "-w", "-std=gnu11", "-fno-strict-aliasing", "-mcpu=v3"]
    options += ["--target=bpfel", "-DENABLE_ATOMICS_TESTS"]
    target = {"x86_64": "x86", "aarch64": "arm64"}.get(machine, machine)
    options += [f"-D__TARGET_ARCH_{target}"]
    options += [f"-I{each}" for each in [*include, tree / "tools/include"]]
    return options + [word for each in later for word in ("-idirafter", each)]


def build(
    cache: Path, sources: list[Path], clang: str, options: list[str]
) -> list[Path]:
    """Every program as an object; returns those that could be built."""
    objects = cache / "objects"
    objects.mkdir(exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []
    for source in sources:
        target_file = objects / f"{source.stem}.o"
        if target_file.exists() or (objects / f"{source.stem}.failed").exists():
            continue
        with (objects / f"{source.stem}.failed").open("w") as log:
            command = [clang, *options, "-c", str(source), "-o", str(target_file)]
            running.append(subprocess.Popen(command, stdout=log, stderr=log))
        if len(running) >= (os.cpu_count() or 1):
            running.pop(0).wait()
    for process in running:
        process.wait()
    built = [objects / f"{each.stem}.o" for each in sources]
    built = [each for each in built if each.exists()]
    for each in built:
        each.with_suffix(".failed").unlink(missing_ok=True)
    return built


# --- load, in a process of its own ---

# A verdict: "" where it was loaded, else a kind of failure and a sentence.
Verdict = tuple[str, str]
LOADED: Verdict = ("", "")


def in_a_child(work: Any, *arguments: Any) -> Any:
    """The result of `work` from a process with limits; None where it did not live."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(*arguments), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def by_us(path: Path, only: str | None) -> Verdict:
    try:
        spec = read(path.read_bytes())
    except BeewireError as error:
        return type(error).__name__, str(error)
    try:
        if only is not None:
            for name, program in spec.programs.items():
                if program.section != ".text":
                    program.autoload = name == only
        load(spec).close()
    except VerifierError as error:
        return REFUSED, str(error)
    except BeewireError as error:
        return type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001 - what the count is there to find
        return f"BUG: {type(error).__name__}", str(error)
    return LOADED


class Libbpf:
    """Just enough of libbpf."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path), use_errno=True)
        self.library.bpf_object__open_file.restype = ctypes.c_void_p
        self.library.bpf_object__next_program.restype = ctypes.c_void_p
        self.library.bpf_object__next_program.argtypes = (ctypes.c_void_p,) * 2
        self.library.bpf_program__name.restype = ctypes.c_char_p
        self.library.bpf_program__name.argtypes = (ctypes.c_void_p,)
        set_autoload = self.library.bpf_program__set_autoload
        set_autoload.argtypes = (ctypes.c_void_p, ctypes.c_bool)
        self.library.bpf_object__load.argtypes = (ctypes.c_void_p,)

    def programs(self, path: Path) -> list[str] | None:
        opened = self.library.bpf_object__open_file(str(path).encode(), None)
        return [name for name, _ in self._programs(opened)] if opened else None

    def _programs(self, opened: int) -> list[tuple[str, int]]:
        found, at = [], None
        while at := self.library.bpf_object__next_program(opened, at):
            found.append((self.library.bpf_program__name(at).decode(), at))
        return found

    def load(self, path: Path, only: str | None) -> Verdict:
        opened = self.library.bpf_object__open_file(str(path).encode(), None)
        if not opened:
            return "open", os.strerror(ctypes.get_errno())
        if only is not None:
            for name, program in self._programs(opened):
                self.library.bpf_program__set_autoload(program, name == only)
        result = self.library.bpf_object__load(opened)
        return LOADED if result == 0 else ("load", os.strerror(-result))


# --- count ---


def compare(
    objects: list[Path], library: Libbpf, *, each_program: bool
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for number, path in enumerate(objects):
        if number % 50 == 0:
            say(f"loaded {number} of {len(objects)}")
        ours = in_a_child(by_us, path, None) or ("BUG: died", "")
        theirs = in_a_child(library.load, path, None) or ("died", "")
        row: dict[str, Any] = {"ours": ours, "libbpf": theirs, "programs": {}}
        names = in_a_child(library.programs, path) if each_program else None
        for name in names or []:
            row["programs"][name] = {
                "ours": in_a_child(by_us, path, name) or ("BUG: died", ""),
                "libbpf": in_a_child(library.load, path, name) or ("died", ""),
            }
        rows[path.stem] = row
    return rows


def tally(rows: list[dict[str, Any]]) -> dict[str, int]:
    loaded = [(not row["ours"][0], not row["libbpf"][0]) for row in rows]
    return {
        "of": len(rows),
        "loaded by us": sum(ours for ours, _ in loaded),
        "loaded by libbpf": sum(theirs for _, theirs in loaded),
        "by both": sum(ours and theirs for ours, theirs in loaded),
        "by libbpf only": sum(theirs and not ours for ours, theirs in loaded),
        "by us only": sum(ours and not theirs for ours, theirs in loaded),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    home = Path.home() / ".cache/beewire/selftests"
    parser.add_argument("--cache", type=Path, default=home)
    parser.add_argument("--package", default="linux-source-6.12")
    parser.add_argument("--clang", default="clang-19")
    parser.add_argument("--only", default="*", help="a pattern of names")
    parser.add_argument("--objects-only", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tree = fetch(options.cache, options.package)
    headers, library = libbpf(options.cache, tree)
    sources = sorted((tree / PROGS).glob(f"{options.only}.c"))
    words = flags(options.cache, tree, headers, options.clang)
    say(f"building {len(sources)} programs")
    built = build(options.cache, sources, options.clang, words)
    rows = compare(built, Libbpf(library), each_program=not options.objects_only)
    programs = [each for row in rows.values() for each in row["programs"].values()]
    objects = list(rows.values())
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": os.uname().release,
        "source": options.package,
        "clang": options.clang,
        "libbpf": library.name,
        "sources": len(sources),
        "built": len(built),
        "objects": tally(objects),
        "programs": tally(programs),
        "reasons": collections.Counter(
            row["ours"][0] for row in objects if row["ours"][0]
        ),
    }
    print(json.dumps(report, indent=2))
    for name, row in rows.items():
        if row["ours"][0] and not row["libbpf"][0]:
            print(f"{name}: libbpf loads it; ours: {': '.join(row['ours'])[:150]}")
        for program, each in row["programs"].items():
            if bool(each["ours"][0]) != bool(each["libbpf"][0]):
                who = "libbpf" if each["ours"][0] else "we"
                why = each["ours"] if each["ours"][0] else each["libbpf"]
                print(f"{name}/{program}: only {who}; {': '.join(why)[:150]}")
    if options.json:
        options.json.write_text(json.dumps({"report": report, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
