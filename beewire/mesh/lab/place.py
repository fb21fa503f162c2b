"""A place is where a process of the lab runs: a network namespace, a cgroup, a user.

Whatever is started here dies with the process that started it, even on `kill -9`.
"""

import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

from beewire.errors import MeshError
from beewire.interrupts import held
from beewire.mesh import netns
from beewire.mesh.lab import _system
from beewire.mesh.lab.cgroups import Cgroup
from beewire.mesh.lab.namespaces import Namespace
from beewire.mesh.lab.patience import PATIENCE

T = TypeVar("T")
Output = IO[bytes] | int | None

STOP_TIMEOUT_S = 3.0


class Place:
    """Start processes, call functions and open sockets inside one part of a pod.

    `uid` is also the group id, unless `gid` is another. Start things from the main thread: the kernel ties a
    child's life to the thread that made it.
    """

    def __init__(
        self, namespace: Namespace, cgroup: Cgroup, uid: int = 0, gid: int = -1
    ) -> None:
        self.namespace = namespace
        self.cgroup = cgroup
        self.uid = uid
        self.gid = uid if gid < 0 else gid

    def start(
        self,
        argv: Sequence[str],
        *,
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = subprocess.DEVNULL,
        stderr: Output = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start `argv` here and return at once.

        The program file is opened as root before the user changes, so it may lie in a
        directory that only root can enter.

        Raises:
            MeshError: the program does not exist or cannot be run.
        """
        try:
            with self._entrance() as enter, _opened(argv[0]) as program:
                return subprocess.Popen(
                    argv,
                    executable=f"/proc/self/fd/{program}",
                    pass_fds=(program,),
                    preexec_fn=enter,  # noqa: PLW1509 - no other thread forks
                    # Ctrl-C on the terminal is for us, who then stop all in order.
                    process_group=0,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=env,
                )
        except OSError as error:
            raise MeshError(f"cannot start {argv[0]}: {error.strerror}") from error

    def run(
        self, argv: Sequence[str], *, text: str = "", timeout_s: float = 60.0 * PATIENCE
    ) -> str:
        """Run `argv` here with `text` as its input and return its output.

        Raises:
            MeshError: it failed; the message ends with what it wrote to stderr.
        """
        process = self.start(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with stopping(process):
            try:
                out, err = process.communicate(text.encode(), timeout_s)
            except subprocess.TimeoutExpired as error:
                raise MeshError(f"{argv[0]} did not end in {timeout_s} s") from error
        if process.returncode != 0:
            said = err.decode(errors="replace").strip() or f"exit {process.returncode}"
            raise MeshError(f"{argv[0]} failed: {said}")
        return out.decode(errors="replace")

    def call(
        self, function: Callable[[], T], *, timeout_s: float = 30.0 * PATIENCE
    ) -> T:
        """Return what `function()` returns in a child process of ours that runs here.

        The result travels by pickle; a socket travels as itself. What the function
        raises is raised here.

        Raises:
            MeshError: the child ended without an answer, or took too long.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            with self._entrance() as enter:
                child = os.fork()
                if child == 0:
                    _answer(theirs, enter, function)
            try:
                theirs.close()
                answer: T = _answer_of(ours, timeout_s)
                return answer
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)

    @contextlib.contextmanager
    def running(self, function: Callable[[], None], *, keep: int = -1) -> Iterator[int]:
        """Run `function()` in a child process of ours, here, until the block ends.

        The child has none of our descriptors but `keep`: what they hold must not outlive
        us in it. Gives its process id. What ends it by itself it tells on standard error;
        see `has_ended`.
        """
        with self._entrance() as enter:
            child = os.fork()
            if child == 0:
                _serve(enter, function, keep)
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def connect(
        self,
        host: str,
        port: int,
        *,
        source: tuple[str, int] | None = None,
        mapped: bool = False,
        timeout_s: float = 20.0 * PATIENCE,
    ) -> socket.socket:
        """Open a TCP connection from here; the caller owns the socket.

        `mapped` dials an IPv4 address through an IPv6 socket, as `::ffff:a.b.c.d`.

        Raises:
            OSError: what connect(2) answered, such as ConnectionRefusedError.
        """
        family = socket.AF_INET6 if ":" in host or mapped else socket.AF_INET
        target = f"::ffff:{host}" if mapped else host

        def dial() -> socket.socket:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.settimeout(timeout_s)
            if source is not None:
                sock.bind(source)
            sock.connect((target, port))
            return sock

        sock = self.call(dial, timeout_s=timeout_s + 5)
        sock.settimeout(timeout_s)
        return sock

    def listen(self, host: str, port: int, backlog: int = 64) -> socket.socket:
        """Return a listening TCP socket that belongs here; the caller owns it.

        Raises:
            OSError: what bind(2) answered.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def open_() -> socket.socket:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(backlog)
            return sock

        return self.call(open_)

    @contextlib.contextmanager
    def _entrance(self) -> Iterator[Callable[[], None]]:
        # Paths are opened out here, where a failure is a plain exception; the child,
        # between fork and exec, does nothing but system calls.
        parent, uid, gid = os.getpid(), self.uid, self.gid
        with contextlib.ExitStack() as stack:
            # Python drops what a signal handler raises while it forks.
            let_signals_go = stack.enter_context(held())
            network = os.open(self.namespace.path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, network)
            procs = self.cgroup.open_procs()
            stack.callback(os.close, procs)

            def enter() -> None:
                os.write(procs, b"0")
                netns.join(network)
                if (uid, gid) != (0, 0):
                    os.setgroups([gid])
                    os.setresgid(gid, gid, gid)
                    os.setresuid(uid, uid, uid)
                _system.die_with(parent)
                let_signals_go()

            yield enter


def how_it_ended(process: "subprocess.Popen[bytes]") -> str | None:
    """As "ended with exit code 1" or "was killed by SIGSEGV"; None while it runs."""
    code = process.poll()
    if code is None:
        return None
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


@contextlib.contextmanager
def stopping(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End `process` at the end of the block: politely, then by force."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def _opened(program: str) -> Iterator[int]:
    fd = os.open(Path(program), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def has_ended(child: int) -> bool:
    """Whether a child of ours has ended by itself; it is left to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _serve(
    enter: Callable[[], None], function: Callable[[], None], keep: int
) -> NoReturn:
    # As `_answer`: the child never returns into the parent's frames.
    try:
        enter()
        os.closerange(3, keep)
        os.closerange(max(3, keep + 1), os.sysconf("SC_OPEN_MAX"))
        function()
    except Exception:  # noqa: BLE001 - the child ends with it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(1)


def _answer(
    pipe: socket.socket, enter: Callable[[], None], function: Callable[[], object]
) -> NoReturn:
    # The child's whole life. It never returns into the parent's frames.
    try:
        enter()
        fds: list[int] = []
        try:
            answer: tuple[bool, object] = (True, function())
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            answer = (False, error)
        if isinstance(answer[1], socket.socket):
            fds = [answer[1].detach()]
            answer = (True, None)
        socket.send_fds(pipe, [b"s" if fds else b"v"], fds)
        pipe.sendall(pickle.dumps(answer))
        os._exit(0)
    finally:
        os._exit(1)


def _answer_of(pipe: socket.socket, timeout_s: float) -> Any:
    if not select.select([pipe], [], [], timeout_s)[0]:
        raise MeshError(f"a call inside a pod did not answer in {timeout_s} s")
    kind, fds, _, _ = socket.recv_fds(pipe, 1, 1)
    pipe.settimeout(timeout_s)
    data = b"".join(iter(lambda: pipe.recv(1 << 16), b""))
    if not kind or not data:
        raise MeshError("a call inside a pod ended without an answer")
    worked, value = pickle.loads(data)
    if not worked:
        raise value
    return socket.socket(fileno=fds[0]) if fds else value
