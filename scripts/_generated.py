"""How the scripts that write tables end: they write, or say what is stale."""

from pathlib import Path


def write_or_check(made: dict[Path, str], *, check: bool) -> int:
    """Write each text to its file; or tell those that differ, and return 1 for any."""
    if check:
        stale = [path for path, text in made.items() if path.read_text() != text]
        for path in stale:
            print(f"{path} is not what the facts in data/ make: run this script")
        return int(bool(stale))
    for path, text in made.items():
        path.write_text(text)
    return 0
