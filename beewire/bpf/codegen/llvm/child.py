"""The process that LLVM lives in: started when it is first needed, and again when it died.

The one place of the code generator that leaves the process.
"""

import atexit
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from typing import IO

from beewire.bpf.codegen.llvm.worker import ANSWER, MISSING, OBJECT, REQUEST
from beewire.errors import BeewireError

_WORKER = "beewire.bpf.codegen.llvm.worker"


class LlvmRefusal(Exception):  # noqa: N818 - becomes a CompileError where the place is known
    """LLVM cannot compile the module; `str()` is its own sentence."""


class Child:
    """A process that compiles, one module after another."""

    def __init__(self) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _source()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def compile(self, text: str, level: int) -> bytes:
        """The object file of a module of LLVM IR.

        Raises:
            LlvmRefusal: LLVM cannot, or died of it: ask another Child then.
            BeewireError: llvmlite is not installed.
        """
        raw = text.encode()
        answer = self._ask(REQUEST.pack(len(raw), level) + raw)
        if answer is None:
            raise LlvmRefusal(self._last_words())
        status, content = answer
        if status == MISSING:
            raise BeewireError(
                f"LLVM is not installed ({content.decode()}): pip install 'beewire[llvm]'"
            )
        if status != OBJECT:
            raise LlvmRefusal(content.decode(errors="replace"))
        return content

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()
        self._log.close()

    def _ask(self, request: bytes) -> tuple[int, bytes] | None:
        sink, source = self._process.stdin, self._process.stdout
        assert sink is not None
        assert source is not None
        try:
            sink.write(request)
            sink.flush()
        except BrokenPipeError:
            return None
        header = source.read(ANSWER.size)
        if len(header) < ANSWER.size:
            return None
        status, length = ANSWER.unpack(header)
        return status, source.read(length)

    def _last_words(self) -> str:
        self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()
        lines = [line for line in said.splitlines() if "error:" in line.lower()]
        # Without a message it ran into an assertion, or a wild pointer.
        return lines[0] if lines else said.partition("\n")[0] or "LLVM ended"


_children: list[Child] = []


def compile_module(text: str, level: int) -> bytes:
    """As `Child.compile`, by the child of this process."""
    if _children and not _children[0].is_alive:
        _children.pop().close()
    if not _children:
        _children.append(Child())
    try:
        return _children[0].compile(text, level)
    finally:
        if not _children[0].is_alive:
            _children.pop().close()


def _source() -> str:
    # Its text, so that it is found in a zip as well, and without this process's sys.path.
    spec = find_spec(_WORKER)
    assert spec is not None
    assert spec.loader is not None
    text: str = spec.loader.get_source(_WORKER)  # type: ignore[attr-defined]
    return text


@atexit.register
def close() -> None:
    """End the child of this process, if there is one."""
    while _children:
        _children.pop().close()
