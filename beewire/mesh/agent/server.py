"""The agent: one process on a node that takes pods over a Unix socket and looks after them.

What it holds is on disk, in pins and records: it may be killed, and another takes over.
Requests are done one after the other, in a thread of its own; meanwhile others are read.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from beewire.errors import BeewireError, MeshError
from beewire.mesh.agent import protocol
from beewire.mesh.agent.directories import Directories, hold_agent_lock
from beewire.mesh.agent.requests import READING, Requests

MOST_CONNECTIONS = 64
IDLE_S = 30.0  # a peer that says nothing is let go
USUAL_LOOK_S = 0.25  # how often it looks after pods
BUSY_LOOK_S = 0.02  # and while one waits for its cgroup, or its sidecar's
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid

Log = Callable[[str], None]


class Agent:
    """The agent of one node; `run` serves until it is told to stop.

    `judges`: a kernel that was not judged for the short path is, in the background.

    Raises:
        MeshError: there is an agent already, or a directory is not to be trusted.
    """

    def __init__(self, node: Directories, log: Log, *, judges: bool = True) -> None:
        self.node = node
        self._judges = judges
        self._log = log
        node.prepare()
        self._lock = hold_agent_lock(node)
        self._requests = Requests(node, log)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="beewire")
        self._connections = 0
        self._stop = asyncio.Event()
        self._news = asyncio.Event()

    def close(self) -> None:
        """Give up the node; pods stay enrolled. Closing twice does nothing."""
        self._worker.shutdown()
        self._requests.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def run(self) -> None:
        """Adopt what is there, then serve until SIGTERM, SIGINT or a request to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._do(partial(self._requests.begin, judges=self._judges))
        listener = listen(self.node)
        server = await asyncio.start_unix_server(self._serve, sock=listener)
        _tell_systemd("READY=1")
        self._log(f"listening on {self.node.socket}")
        look = asyncio.create_task(self._look_after())
        try:
            await self._stop.wait()
        finally:
            _tell_systemd("STOPPING=1")
            look.cancel()
            server.close()
            with contextlib.suppress(FileNotFoundError):
                self.node.socket.unlink()
            with contextlib.suppress(asyncio.CancelledError):
                await look
        self._log("stopped; pods stay enrolled")

    async def _do(self, function: Callable[..., Any], *arguments: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, function, *arguments)

    async def _look_after(self) -> None:
        # Before Python 3.12 wait_for() forgets that it is cancelled where what it waits
        # for comes in the same moment: so this is asked, too.
        while not self._stop.is_set():
            try:
                waiting = await self._do(self._requests.look)
            except Exception as error:  # noqa: BLE001 - the next look may find better
                self._log(f"looking after pods failed: {type(error).__name__}: {error}")
                await asyncio.sleep(USUAL_LOOK_S)
                continue
            await asyncio.sleep(BUSY_LOOK_S)
            if not waiting:
                await self._wait_for_news(USUAL_LOOK_S)

    async def _wait_for_news(self, at_most_s: float) -> None:
        # What the kernel tells stays new until it is looked at.
        loop = asyncio.get_running_loop()
        loop.add_reader(self._requests, self._news.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), at_most_s)
        loop.remove_reader(self._requests)
        self._news.clear()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connections += 1
        try:
            if self._connections > MOST_CONNECTIONS:
                error = MeshError(f"{MOST_CONNECTIONS} others are asking: try again")
                await _answer(writer, protocol.failed(error))
            elif (uid := peer_uid(writer.get_extra_info("socket"))) not in trusted():
                self._log(f"user {uid} asked, and was refused")
                error = MeshError(f"user {uid} may not ask the agent: root may")
                await _answer(writer, protocol.failed(error))
            else:
                await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the peer went away, or had nothing more to say
        except asyncio.CancelledError:
            pass  # the agent ends; streams of 3.11 log a task that ends cancelled
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await asyncio.wait_for(reader.readexactly(protocol.HEAD), IDLE_S)
            try:
                size = protocol.size_of(head)
            except protocol.ProtocolError as error:
                # Where the next message begins is not known any more.
                await _answer(writer, protocol.failed(error))
                return
            body = await asyncio.wait_for(reader.readexactly(size), IDLE_S)
            await _answer(writer, await self._reply(body))

    async def _reply(self, body: bytes) -> bytes:
        try:
            request = protocol.request(body)
            if request.do == "stop":
                protocol.fields(request.arguments, {})
                self._stop.set()
                return protocol.succeeded({"pid": os.getpid()})
            done = await self._do(self._requests.do, request)
            if request.do not in READING:
                self._news.set()
            return protocol.succeeded(done)
        except BeewireError as error:
            return protocol.failed(error)
        except Exception as error:  # noqa: BLE001 - one request never ends the agent
            self._log(f"a fault of Beewire itself: {type(error).__name__}: {error}")
            return protocol.failed(error)


def listen(node: Directories) -> socket.socket:
    """The agent's socket, for its owner alone; whoever calls this has the agent's lock.

    Raises:
        MeshError: it cannot be made.
    """
    node.socket.unlink(missing_ok=True)  # of an agent that was killed
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        sock.bind(str(node.socket))
        sock.listen(MOST_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise MeshError(f"cannot listen on {node.socket}: {error.strerror}") from error
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def peer_uid(sock: socket.socket) -> int:
    """Who is at the other end (SO_PEERCRED), as the kernel knows it."""
    told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(told)[1]
    return uid


def trusted() -> set[int]:
    """Who may ask: root, and whoever this is."""
    return {0, os.geteuid()}


async def _answer(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer)
    await asyncio.wait_for(writer.drain(), IDLE_S)


def _tell_systemd(state: str) -> None:
    # sd_notify(3), which is one datagram.
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.sendto(state.encode(), address)
