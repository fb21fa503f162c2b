"""The battery in the background: a kernel that was not judged yet is, once.

No enrolment waits for it: pods that want the short path are on TCP until then, and get
their tiers when it is done.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

from beewire.mesh.agent.bypassing import Bypassing
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.operations import Log

LOOK_S = 10.0  # how often it is asked whether the kernel is the same
NICE = 10  # the battery's: pods come first


class Qualifying:
    """Has this kernel judged where a pod wants what it was not judged for."""

    def __init__(self, directories: Directories, bypass: Bypassing, log: Log) -> None:
        self._directories = directories
        self._bypass = bypass
        self._log = log
        self._battery: subprocess.Popen[bytes] | None = None
        self._tried = ""
        self._look_at = 0.0
        self._allowed = bypass.standing().allowed_tiers()

    def close(self) -> None:
        """End a battery that runs. Closing twice does nothing."""
        battery, self._battery = self._battery, None
        if battery is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(battery.pid, signal.SIGTERM)
            battery.wait()

    @property
    def is_running(self) -> bool:
        """Whether the battery runs."""
        return self._battery is not None

    def look(self, *, wanted: bool) -> bool:
        """Begin, or see what became of it; whether what is known may be another by now.

        `wanted`: a pod would have more if the kernel had qualified for it.
        """
        if self._battery is not None:
            return self._has_ended()
        if time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + LOOK_S
        before = self._allowed
        self._bypass.look_again()
        now = self._bypass.standing()
        self._allowed = now.allowed_tiers()
        if wanted and not now.is_current and self._tried != now.reason:
            self._tried = now.reason
            self._begin(now.reason)
        return before != self._allowed

    def _begin(self, reason: str) -> None:
        self._log(
            f"short path: {reason.partition(':')[0]}; judging it in the background"
        )
        environment = {
            **os.environ,
            "BEEWIRE_PINS": str(self._directories.pins),
            "BEEWIRE_RUN": str(self._directories.run),
        }
        log = self._directories.run / "qualify.log"
        with log.open("wb") as said:
            self._battery = subprocess.Popen(
                [sys.executable, "-m", "beewire", "mesh", "qualify"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                process_group=0,
            )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._battery.pid, NICE)

    def _has_ended(self) -> bool:
        assert self._battery is not None
        if self._battery.poll() is None:
            return False
        code, self._battery = self._battery.returncode, None
        self._bypass.look_again()
        standing = self._bypass.standing()
        self._allowed = standing.allowed_tiers()
        if standing.is_current:
            allowed = ", ".join(sorted(self._allowed))
            self._log(
                f"short path: this kernel was judged, and qualifies for: {allowed}"
            )
        else:
            log = self._directories.run / "qualify.log"
            self._log(
                f"short path: the battery ended with exit code {code}, and this kernel"
                f" stays without: {log} has what it said"
            )
        return True
