"""The table's place in a page of documentation, between two marks."""

from pathlib import Path

BEGIN = "<!-- make test-kernels: begin -->"
END = "<!-- make test-kernels: end -->"


def rewrite(page: Path, text: str) -> None:
    """Put `text` between the marks of `page`, which get a section where there are none."""
    content = page.read_text()
    if BEGIN not in content:
        content = f"{content.rstrip()}\n\n## Kernels\n\n{BEGIN}\n{END}\n"
    before, _, rest = content.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
