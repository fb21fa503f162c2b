"""What a guest told of its tests, read back from its output."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "@beewire "
PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"


@dataclass(frozen=True, slots=True)
class Test:
    """One test in one guest. `reason` is why it was skipped, or how it failed."""

    name: str
    outcome: str
    reason: str
    seconds: float

    @property
    def file(self) -> str:
        """The file it is in, from the checkout."""
        return self.name.partition("::")[0]

    @property
    def function(self) -> str:
        """Its name without parameters."""
        return self.name.partition("[")[0]

    @property
    def group(self) -> str:
        """What the file tests: "kernel maps" for tests/bpf/kernel/test_kernel_maps.py."""
        return Path(self.file).stem.removeprefix("test_").replace("_", " ")


@dataclass(slots=True)
class Results:
    """All that was told. `is_complete` tells whether pytest came to its end."""

    tests: list[Test] = field(default_factory=list)
    features: dict[str, bool] = field(default_factory=dict)
    is_complete: bool = False
    other: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Take one line of the guest's output."""
        if not line.startswith(PREFIX):
            if line:
                self.other.append(line)
            return
        record = json.loads(line.removeprefix(PREFIX))
        if "features" in record:
            self.features = record["features"]
        elif "end" in record:
            self.is_complete = True
        else:
            told = (record["outcome"], record["reason"], record["seconds"])
            self.tests.append(Test(record["test"], *told))

    @property
    def failures(self) -> list[Test]:
        """The tests that failed."""
        return [test for test in self.tests if test.outcome == FAILED]

    @property
    def skips(self) -> set[tuple[str, str]]:
        """Each (test function, reason) that was skipped."""
        found = (test for test in self.tests if test.outcome == SKIPPED)
        return {(test.function, test.reason) for test in found}

    def counts(self, group: str | None = None) -> Counter[str]:
        """How many tests passed, were skipped, failed; of a group, or of all."""
        return Counter(t.outcome for t in self.tests if group in {None, t.group})


def read(lines: Iterable[str]) -> Results:
    """The results that `lines` tell."""
    results = Results()
    for line in lines:
        results.take(line.rstrip("\n"))
    return results
