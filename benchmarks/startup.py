"""How long until the first program is attached, and how much memory does that take?

attached_ms: process start to the last link of examples/exec_time.py attached; no cache of
compiled programs, bytecode and page cache warm. peak_rss_mb: the peak resident set of
that process, in MiB. import_ms: what `import beewire.bpf` adds to `python -c pass`. The
same tool in bpftrace and BCC runs beside it where they are installed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from _report import Figure, machine, measured, missing, options, show, write

from beewire.errors import BeewireError, UsageError

PARTS = Path(__file__).parent / "startup"
EXAMPLE = Path(__file__).parents[1] / "examples" / "exec_time.py"
TRACEFS = Path("/sys/kernel/tracing")
SYSTEM_PYTHON = Path("/usr/bin/python3")  # BCC's module belongs to Debian's Python

Sample = tuple[float, float]


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=20)
    host = machine()
    few = max(1, asked.rounds // 4)
    figures = attached(beewire_command, asked.rounds, "")
    figures |= imports(asked.rounds)
    figures |= attached(bpftrace_command, few, "bpftrace.")
    figures |= attached(bcc_command, few, "bcc.")
    show(figures)
    if asked.json:
        write(asked.json, "startup", host, asked.rounds, figures)
    return 0 if figures["attached_ms"].value is not None else 1


def attached(
    command: Callable[[], list[str]], rounds: int, prefix: str
) -> dict[str, Figure]:
    """attached_ms and peak_rss_mb of one tool, or why they could not be measured."""
    names = (f"{prefix}attached_ms", f"{prefix}peak_rss_mb")
    try:
        words = command()
        attach_once(words)  # warms bytecode and page cache
        samples = [attach_once(words) for _ in range(rounds)]
    except UsageError as error:
        why = str(error)
        return {names[0]: missing("ms", why), names[1]: missing("MiB", why)}
    took_ms, peak_mb = zip(*samples, strict=True)
    return {names[0]: measured(took_ms, "ms"), names[1]: measured(peak_mb, "MiB")}


def beewire_command() -> list[str]:
    """Our example, attached by a harness that reports when."""
    harness = str(PARTS / "attach.py")
    return [sys.executable, harness, str(EXAMPLE.parent), EXAMPLE.stem]


def bpftrace_command() -> list[str]:
    """bpftrace starts what follows -c once every probe is attached."""
    found = shutil.which("bpftrace")
    if not found:
        raise UsageError("bpftrace is not installed")
    if not (TRACEFS / "events").is_dir():
        mount = f"mount -t tracefs tracefs {TRACEFS}"
        raise UsageError(f"bpftrace needs tracefs, which is not mounted: {mount}")
    # -c takes no script; 0.17 resolves no interpreter.
    script = str(PARTS / "exec_time.bt")
    return [found, "-q", script, "-c", f"/bin/sh {PARTS / 'mark'}"]


def bcc_command() -> list[str]:
    """The same in BCC, with its Python."""
    if not list(Path("/usr/lib/python3/dist-packages").glob("bcc/__init__.py")):
        raise UsageError("BCC is not installed")
    build = Path("/lib/modules", os.uname().release, "build")
    if not build.exists() and "BCC_KERNEL_SOURCE" not in os.environ:
        raise UsageError(
            f"BCC needs the kernel's headers, and {build} does not exist"
            " (BCC_KERNEL_SOURCE may name another place)"
        )
    return [str(SYSTEM_PYTHON), str(PARTS / "exec_time_bcc.py")]


def attach_once(command: list[str]) -> Sample:
    """Run `command`; milliseconds from its start until it was attached, and peak MiB.

    Raises:
        UsageError: It failed; says what it wrote last.
    """
    # The one clock that a shell script can read too.
    start = time.clock_gettime(time.CLOCK_REALTIME)
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment()
    )
    at = re.search(r"^(\d+\.\d+)$", result.stdout, re.MULTILINE)
    peak = re.search(r"^VmHWM:\s*(\d+) kB", result.stdout, re.MULTILINE)
    if result.returncode or not at or not peak:
        said = (result.stderr or result.stdout).strip().splitlines()
        what = said[-1] if said else f"exit code {result.returncode}"
        raise UsageError(f"{Path(command[0]).name} did not attach: {what}")
    return (float(at[1]) - start) * 1000, int(peak[1]) / 1024


def imports(rounds: int) -> dict[str, Figure]:
    """import_ms, from interleaved pairs."""
    figures = surplus("import_ms", "import beewire.bpf", rounds)
    words = "LruHash, RingBuf, Struct, chars, current, tracepoint, u32, u64"
    source = f"from beewire.bpf import {words}"
    return figures | surplus("import_names_ms", source, rounds)


def surplus(name: str, source: str, rounds: int) -> dict[str, Figure]:
    """How much longer Python takes with `source` than with nothing to do."""
    against = "python -c pass"
    try:
        run_ms("pass")
        run_ms(source)  # warms bytecode and page cache
        samples = [run_ms(source) - run_ms("pass") for _ in range(rounds)]
    except UsageError as error:
        return {name: missing("ms", str(error), against)}
    return {name: measured(samples, "ms", against)}


def run_ms(source: str) -> float:
    """How long a whole Python process takes that runs `source`.

    Raises:
        UsageError: It failed; says what it wrote last.
    """
    command = [sys.executable, "-c", source]
    start = time.perf_counter()
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment()
    )
    took = time.perf_counter() - start
    if result.returncode:
        raise UsageError(result.stderr.strip().splitlines()[-1])
    return took * 1000


def environment() -> dict[str, str]:
    """Our environment, but for what would keep bytecode from being warm."""
    kept = dict(os.environ)
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BeewireError as error:
        sys.exit(f"startup: {error}")
