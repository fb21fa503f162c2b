"""Feature: one ability, and what the kernel answers."""

import errno
import os
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from beewire.bpf.kernel import explain, privilege
from beewire.bpf.kernel.features import store
from beewire.errors import BeewireError, NotPermitted, NotSupported

# Refusals that say nothing of the kernel: the same probe may pass a moment later.
_PASSING = (
    *(errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE),
    *(errno.ENOSPC, errno.ENOBUFS),
)

# What a refusal means here: probes ask for nothing that is wrong in itself.
_REASONS = {
    errno.EINVAL: "the kernel does not know it, or is built without it",
    errno.EACCES: "the verifier does not let it pass",
    errno.E2BIG: "the kernel is too old to know what it would be asked",
}


class Answer(Enum):
    """What a probe found."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Feature(NamedTuple):
    """One ability of this kernel, for this process; true where the answer is yes.

    `since` is the first mainline release with it, "" where that is not known. `reason`
    says why the answer is no or unknown. `group` is what the ability is one of:
    "program type", "helper", and so on; `name` begins with it.
    """

    name: str
    since: str
    answer: Answer
    reason: str = ""
    group: str = ""

    def __bool__(self) -> bool:
        return self.answer is Answer.YES

    @property
    def available(self) -> bool:
        """Whether the answer is yes."""
        return self.answer is Answer.YES

    @property
    def unknown(self) -> bool:
        """Whether the kernel could not be asked; it may well have it."""
        return self.answer is Answer.UNKNOWN

    def require(self) -> None:
        """Return if it is available.

        Raises:
            NotSupported: it is not.
            NotPermitted: this process may not even ask.
        """
        if self.answer is Answer.YES:
            return
        error: BeewireError
        if self.answer is Answer.UNKNOWN:
            about = f"it is not known whether this kernel has {self.name}"
            error = NotPermitted(errno.EPERM, self.name, f"{about}: {self.reason}")
        else:
            error = NotSupported(errno.EOPNOTSUPP, self.name, self.since)
            error.add_note(self.reason)
        raise error


class Outcome(NamedTuple):
    """What one probe found; `lasting` if it holds until the next boot."""

    answer: Answer
    reason: str = ""
    lasting: bool = True


def yes() -> Outcome:
    """The kernel has it."""
    return Outcome(Answer.YES)


def no(reason: str, *, lasting: bool = True) -> Outcome:
    """The kernel does not have it."""
    return Outcome(Answer.NO, reason, lasting)


def unknown(reason: str) -> Outcome:
    """It could not be asked."""
    return Outcome(Answer.UNKNOWN, reason, lasting=False)


def judge(
    result: int, need: tuple[str, ...] = (), signs: tuple[int, ...] = ()
) -> Outcome:
    """The outcome of a descriptor, which is closed, or of -errno.

    An errno of `signs` means yes: the kernel got as far as what was wrong on purpose.
    `need` are the capabilities beside CAP_BPF that the attempt takes.
    """
    if result >= 0:
        os.close(result)
        return yes()
    if -result in signs:
        return yes()
    code = errno.errorcode.get(-result, str(-result))
    reason = f"{_REASONS.get(-result) or explain.reason(-result)} ({code})"
    if -result in _PASSING:
        return unknown(reason)
    return forbidden(need) if result == -errno.EPERM else no(reason)


def forbidden(need: tuple[str, ...] = ()) -> Outcome:
    """The outcome of EPERM: unknown, unless all capabilities are there."""
    # CAP_SYS_ADMIN stands for CAP_BPF, too.
    needs = need if "CAP_SYS_ADMIN" in need else ("CAP_BPF", *need)
    if lacking := privilege.missing(needs):
        return unknown(f"missing {' and '.join(lacking)}")
    reason = privilege.why_forbidden(needs)
    if privilege.in_user_namespace() or privilege.filtered():
        return unknown(reason)
    return no(reason, lasting=False)


def ask(group: str, what: str, since: str, probe: Callable[[], Outcome]) -> Feature:
    """The Feature "`group` `what`": as it is kept, or as `probe` finds it now."""
    name = f"{group} {what}".strip()
    kept = store.known(name)
    if kept is not None:
        word, _, reason = kept.partition(" ")
        return Feature(name, since, Answer(word), reason, group)
    outcome = probe()
    # Before Linux 5.11 EPERM may mean that RLIMIT_MEMLOCK is reached.
    if outcome.answer is not Answer.YES and not outcome.lasting:
        outcome = probe() if privilege.raise_memlock() else outcome
    store.keep(
        name, f"{outcome.answer.value} {outcome.reason}".strip(), outcome.lasting
    )
    return Feature(name, since, outcome.answer, outcome.reason, group)
