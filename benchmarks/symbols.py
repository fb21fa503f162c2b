"""How long does it take to know the kernel's functions by their addresses, in what memory?

kallsyms: /proc/kallsyms read by a fresh process until addresses can be asked for, in wall
time (_ms), processor time (_cpu_ms: most of it is the kernel's, which writes the text), by
what Python allocated at most (_peak_mb), and by what the process grew (_rss_mb). find_us:
one address, of 1000 that are asked for in their order, as a profile does. table_us: one
symbol of the largest library that this process has loaded, read until addresses can be
asked for.
"""

import json
import os
import subprocess
import sys

from _report import Figure, counted, machine, measured, options, show, write

KALLSYMS = """
import json, random, resource, time, tracemalloc
from beewire.symbols.kallsyms import KernelSymbols

def kept():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before, wall, cpu = kept(), time.perf_counter(), time.process_time()
symbols = KernelSymbols.read()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
grown = kept() - before
count = sum(block.count(b"\\n") + 1 for block in symbols._blocks)
starts = sorted(random.choices(range(symbols._starts[0], symbols._starts[-1]), k=1000))
found = time.perf_counter()
for address in starts:
    symbols.find(address)
found = time.perf_counter() - found
del symbols
tracemalloc.start()
symbols = KernelSymbols.read()
peak = tracemalloc.get_traced_memory()[1]
print(json.dumps([wall * 1e3, cpu * 1e3, peak / 1e6, grown / 1e3, found * 1e3, count]))
"""

TABLE = """
import json, os, time
from beewire.symbols import Image, Mappings
files = {each.path for each in Mappings.read(os.getpid()) if each.is_file}
path = max(files, key=os.path.getsize)
start = time.perf_counter()
count = len(Image(path, fd=os.open(path, os.O_RDONLY)).table)
print(json.dumps([(time.perf_counter() - start) * 1e6 / max(count, 1), count]))
"""


UNITS = {"wall_ms": "ms", "cpu_ms": "ms", "peak_mb": "MB", "rss_mb": "MB"}


def main(argv: list[str]) -> int:
    """Measure, print and write."""
    asked = options(argv, __doc__ or "", rounds=20)
    host = machine()
    kernel = [fresh(KALLSYMS) for _ in range(asked.rounds)]
    table = [fresh(TABLE) for _ in range(asked.rounds)]
    figures: dict[str, Figure] = {}
    for name, samples in zip(UNITS, zip(*kernel, strict=True), strict=False):
        figures[f"kallsyms_{name}"] = measured(samples, UNITS[name])
    figures["kallsyms_symbols"] = counted(int(kernel[0][5]))
    figures["find_us"] = measured([row[4] for row in kernel], "us")
    figures["table_us"] = measured([row[0] for row in table], "us")
    figures["table_symbols"] = counted(int(table[0][1]))
    show(figures)
    if asked.json:
        write(asked.json, "symbols", host, asked.rounds, figures)
    return 0


def fresh(code: str) -> list[float]:
    """What a process of its own prints."""
    told = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    if told.returncode:
        sys.exit(f"symbols: {told.stderr.strip().splitlines()[-1]}")
    found: list[float] = json.loads(told.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
