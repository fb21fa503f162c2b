"""What came of the programs: for people, and for docs/benchmarks.md."""

from pathlib import Path

from tests.bpf.fuzz.campaign import Totals

LEAST_LLVM = 0.70
LEAST_CONSTRUCT = 0.01
MOST_COMPLEX = 0.001
BEGIN, END = "<!-- fuzz: begin -->", "<!-- fuzz: end -->"


def verdict(totals: Totals, *, with_llvm: bool = True) -> list[str]:
    """What is not as it should be; nothing when all is well."""
    wrong = [f"{len(totals.faults)} programs show a fault"] if totals.faults else []
    if with_llvm and totals.llvm_share < LEAST_LLVM:
        wrong.append(f"LLVM takes part in {totals.llvm_share:.1%} of the programs")
    complex_ = totals.excuses["complexity"]
    if complex_ > max(1, MOST_COMPLEX * totals.programs):
        wrong.append(f"{complex_} programs are too complex for the kernel")
    rare = [c for c in totals.constructs if totals.share(c) < LEAST_CONSTRUCT]
    return wrong + [f"{name!r} is in too few programs" for name in sorted(rare)]


def text(totals: Totals) -> str:
    """The report as it is printed."""
    rows = [f"{name:38} {value}" for name, value in figures(totals)]
    rows += ["", "why LLVM did not take part:"]
    rows += [f"  {count:6}  {why}" for why, count in totals.reasons.most_common(8)]
    rows += ["", "constructs, in percent of the programs:"]
    cells = [
        f"{totals.share(name):6.1%} {name:26}"
        for name, _ in totals.constructs.most_common()
    ]
    rows += ["".join(cells[i : i + 3]).rstrip() for i in range(0, len(cells), 3)]
    return "\n".join(rows)


def figures(totals: Totals) -> list[tuple[str, str]]:
    """The figures, with their names."""
    mismatches = sum("differ" in fault.outcome.fault for fault in totals.faults)
    refused = sum("kernel" in fault.outcome.fault for fault in totals.faults)
    others = len(totals.faults) - mismatches - refused
    return [
        ("programs", f"{totals.programs}"),
        ("compared", f"{totals.compared}"),
        ("mismatches", f"{mismatches}"),
        ("accepted by us, refused by the kernel", f"{refused}"),
        ("other faults", f"{others}"),
        ("too complex for the kernel", _part(totals, "complexity")),
        ("refused by us: more stack than there is", _part(totals, "stack")),
        ("LLVM took part", f"{totals.llvm_share:.1%}"),
        ("LLVM could not express the program", f"{totals.llvm['cannot']}"),
        ("LLVM's code refused by the kernel", f"{totals.llvm['refused']}"),
        ("seconds", f"{totals.seconds:.0f}"),
    ]


def _part(totals: Totals, excuse: str) -> str:
    count = totals.excuses[excuse]
    return f"{count} ({count / max(1, totals.programs):.2%})"


def markdown(totals: Totals, machine: str) -> str:
    """The section of docs/benchmarks.md."""
    rows = [
        BEGIN,
        "## Differential fuzzing",
        "",
        "`make fuzz` makes random programs of the whole language, and runs each by our own",
        "generator, by LLVM, and by `evaluate()` on the same inputs: results, packets, maps,",
        f"globals and records have to be the same. Measured on {machine}.",
        "",
        "| figure | value |",
        "|---|---|",
        *[f"| {name} | {value} |" for name, value in figures(totals)],
        "",
        "Constructs, in percent of the programs:",
        "",
        "| construct | % | construct | % | construct | % |",
        "|---|---|---|---|---|---|",
    ]
    cells = [
        f"| {name} | {100 * totals.share(name):.1f} "
        for name, _ in totals.constructs.most_common()
    ]
    cells += ["| | "] * (-len(cells) % 3)
    rows += ["".join(cells[i : i + 3]) + "|" for i in range(0, len(cells), 3)]
    return "\n".join([*rows, END, ""])


def write(totals: Totals, machine: str, path: Path) -> None:
    """Put the section into a page, in the place of the one before."""
    page = path.read_text() if path.exists() else "# Benchmarks\n\n"
    section = markdown(totals, machine)
    if BEGIN in page:
        before, _, rest = page.partition(BEGIN)
        page = before + section + rest.partition(END)[2].lstrip("\n")
    else:
        page = page.rstrip("\n") + "\n\n" + section
    path.write_text(page)
