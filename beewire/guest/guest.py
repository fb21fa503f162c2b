"""One guest, from its start to the end of its command."""

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from beewire.errors import GuestError
from beewire.guest import children, initramfs, machine, share, tools
from beewire.guest.initramfs import CONTROL, ERRORS, EXIT, INPUT, OUTPUT, UP, Command
from beewire.guest.kernels import Kernel, in_use
from beewire.guest.machine import KVM, TCG, Acceleration, Size, Wires
from beewire.guest.share import VIRTIOFS, Share

TIMED_OUT = 124
"""The exit code of a command that was given up, as timeout(1) has it."""

# TCG on a busy machine takes half a minute, or several; KVM comes up in one second or not
# at all.
_BOOT_S = {TCG: 600.0, KVM: 10.0}
_CHUNK = 1 << 16
_CONSOLE_KEPT = 1 << 16
_CONSOLE_TOLD = 12
_PANIC = "Kernel panic"

Sink = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Options:
    """How a guest is made. `timeout_s` bounds its command, not the boot."""

    size: Size = field(default_factory=Size)
    share: Share = VIRTIOFS
    timeout_s: float | None = None
    kernel_words: Sequence[str] = ()
    accelerator: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a guest's command ended.

    `exit_code` is the command's own, 128 + its signal, or 124 after `timeout_s`.
    `boot_s` passed until the command was started, `seconds` until all was over.
    """

    exit_code: int
    boot_s: float
    seconds: float
    accelerator: str
    timed_out: bool


def writer(descriptor: int) -> Sink:
    """A sink that writes all to `descriptor`."""

    def write(data: bytes) -> None:
        while data:
            data = data[os.write(descriptor, data) :]

    return write


class _DidNotComeUpError(GuestError):
    """The guest ended, or its time was over, before its command was started."""


def run(
    kernel: Kernel,
    command: Command,
    options: Options,
    *,
    output: Sink,
    errors: Sink,
    stdin: int | None = None,
) -> Ended:
    """Run `command` under `kernel`; its output is handed on as it comes.

    The host's file system is there, at the same paths; what the guest writes to it is
    gone with the guest. No process outlives the call, nor the process that called.
    `stdin` is a descriptor for `command.reads`.

    Raises:
        GuestError: a program is missing, the guest could not be started, or it died
            before its command ended.
    """
    tools.require("qemu-system-x86_64", "busybox", *options.share.programs)
    acceleration = Acceleration()
    accelerator = options.accelerator or acceleration.usual()
    with in_use(kernel):
        guest = _Guest(kernel, command, options, output, errors)
        is_trial = accelerator == KVM and not options.accelerator
        try:
            ended = guest.run(accelerator, stdin)
        except _DidNotComeUpError:
            if not is_trial or acceleration.is_tried():
                raise
            acceleration.remember(works=False)
            return guest.run(TCG, stdin)
    if is_trial and not acceleration.is_tried():
        acceleration.remember(works=True)
    return ended


class _Guest:
    def __init__(
        self,
        kernel: Kernel,
        command: Command,
        options: Options,
        output: Sink,
        errors: Sink,
    ) -> None:
        self._kernel = kernel
        self._command = command
        self._options = options
        self._sinks = {OUTPUT: output, ERRORS: errors}
        self._initramfs = initramfs.build(kernel, options.share, command)

    def run(self, accelerator: str, stdin: int | None) -> Ended:
        """Boot, run the command, and tell how it ended."""
        options = self._options
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            memory = stack.enter_context(_in_memory(self._initramfs))
            ports = [_Wire(stack) for _ in initramfs.PORTS]
            console = _Wire(stack)
            wires = Wires(
                memory.fileno(),
                console.theirs.fileno(),
                tuple(port.theirs.fileno() for port in ports),
            )
            words = machine.command_line(
                self._kernel,
                options.size,
                wires,
                accelerator=accelerator,
                kernel_words=options.kernel_words,
            )
            serving = share.serving(options.share, options.size.memory_mb)
            shared, descriptors = stack.enter_context(serving)
            qemu = stack.enter_context(
                children.running([*words, *shared], [*wires.all, *descriptors])
            )
            talk = _Talk(qemu, dict(zip(initramfs.PORTS, ports, strict=True)), console)
            talk.begin(self._sinks, stdin if self._command.reads else None)
            boot_s = talk.wait_until_up(_BOOT_S[accelerator])
            code = talk.wait_for_exit(options.timeout_s)
            seconds = time.monotonic() - started
            timed_out = code is None
            return Ended(
                TIMED_OUT if code is None else code,
                boot_s,
                seconds,
                accelerator,
                timed_out,
            )


class _Wire:
    """A pair of connected sockets: one end is ours, the other QEMU's."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.ours, self.theirs = socket.socketpair()
        stack.enter_context(self.ours)
        stack.enter_context(self.theirs)


class _Talk:
    """What goes back and forth between a guest and us."""

    def __init__(
        self, qemu: children.Child, ports: dict[int, _Wire], console: _Wire
    ) -> None:
        self._qemu = qemu
        self._ports = ports
        self._console = console
        self._selector = selectors.PollSelector()  # takes regular files, too
        self._said = b""  # by the console
        self._heard = b""  # from the guest's second script
        self._stdin: int | None = None
        self._up_s: float | None = None
        self._exit_code: int | None = None

    def begin(self, sinks: dict[int, Sink], stdin: int | None) -> None:
        """Listen to every port; `stdin` is read once the guest is up."""
        listeners = {**sinks, CONTROL: self._hear}
        for number, sink in listeners.items():
            self._listen(self._ports[number], sink)
        self._listen(self._console, self._keep)
        for wire in (*self._ports.values(), self._console):
            wire.theirs.close()
        self._stdin = stdin
        if stdin is None:
            self._ports[INPUT].ours.close()

    def wait_until_up(self, patience_s: float) -> float:
        """Wait for the guest's word that the command starts; gives the seconds it took.

        Raises:
            _DidNotComeUpError: it died before that, or `patience_s` is over.
        """
        if not self._attend(lambda: self._up_s is not None, patience_s):
            raise self._failure(f"did not come up in {patience_s:.0f} s")
        if self._stdin is not None:
            self._forward(self._stdin)
        return self._up_s or 0.0

    def wait_for_exit(self, patience_s: float | None) -> int | None:
        """Wait for the end of the command; gives its exit code, None if none came.

        Raises:
            GuestError: the guest died before that.
        """
        if self._attend(lambda: self._exit_code is not None, patience_s):
            # What the command wrote was handed over before its end was told.
            while self._turn(0):
                pass
        return self._exit_code

    def _attend(self, is_done: Callable[[], bool], patience_s: float | None) -> bool:
        end = None if patience_s is None else time.monotonic() + patience_s
        while not is_done():
            left = 1.0 if end is None else end - time.monotonic()
            if left <= 0:
                return False
            self._turn(min(left, 1.0))
            if not self._selector.get_map() or self._qemu.process.poll() is not None:
                while self._turn(0):
                    pass
                if is_done():
                    break
                raise self._failure("died")
        return True

    def _turn(self, patience_s: float) -> bool:
        # One round of the selector; whether anything came.
        ready = self._selector.select(patience_s)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def _listen(self, wire: _Wire, sink: Sink) -> None:
        def take() -> None:
            data = _received(wire.ours)
            if data:
                sink(data)
            else:
                self._selector.unregister(wire.ours)

        self._selector.register(wire.ours, selectors.EVENT_READ, take)

    def _forward(self, stdin: int) -> None:
        # One chunk at a time: what the guest does not take yet is not read yet.
        ours = self._ports[INPUT].ours
        ours.setblocking(False)

        def take() -> None:
            data = os.read(stdin, _CHUNK)
            self._selector.unregister(stdin)
            if data:
                self._selector.register(ours, selectors.EVENT_WRITE, lambda: give(data))
            else:
                # QEMU throws away what it has not read when the socket is closed.
                ours.shutdown(socket.SHUT_WR)

        def give(data: bytes) -> None:
            self._selector.unregister(ours)
            try:
                left = data[ours.send(data) :]
            except BrokenPipeError:
                return
            if left:
                self._selector.register(ours, selectors.EVENT_WRITE, lambda: give(left))
            else:
                self._selector.register(stdin, selectors.EVENT_READ, take)

        self._selector.register(stdin, selectors.EVENT_READ, take)

    def _hear(self, data: bytes) -> None:
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            word, _, number = line.decode(errors="replace").partition(" ")
            if word == UP:
                self._up_s = float(number)
            elif word == EXIT:
                self._exit_code = int(number)

    def _keep(self, data: bytes) -> None:
        self._said = (self._said + data)[-_CONSOLE_KEPT:]

    def _failure(self, how: str) -> GuestError:
        kind = GuestError if self._up_s is not None else _DidNotComeUpError
        said = self._said.decode(errors="replace").replace("\r", "").splitlines()
        lines = [*self._qemu.said().splitlines(), *said]
        panic = next((line for line in lines if _PANIC in line), "")
        reason = f": {panic[panic.index(_PANIC) :]}" if panic else ""
        error = kind(f"the guest {how}{reason}")
        for line in lines[-_CONSOLE_TOLD:]:
            error.add_note(line)
        return error


def _received(wire: socket.socket) -> bytes:
    try:
        return wire.recv(_CHUNK)
    except ConnectionResetError:
        return b""


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[IO[bytes]]:
    # A file without a name: nothing is left of it, whatever happens.
    descriptor = os.memfd_create("initramfs")
    with open(descriptor, "w+b") as file:  # noqa: PTH123 - it has no path
        file.write(content)
        file.flush()
        yield file
