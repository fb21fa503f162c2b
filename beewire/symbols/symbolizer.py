"""The kernel and all processes: addresses of stacks as frames."""

from beewire.errors import NotPermitted
from beewire.hints import Iterable, Self
from beewire.symbols.kallsyms import KernelSymbols
from beewire.symbols.process import UNKNOWN, Frame, Images, Process, frame_in


class Symbolizer:
    """Finds functions, and remembers them; a context manager that closes the files.

    `kernel_fault` says why kernel functions have no names, where that is so.
    """

    __slots__ = ("_frames", "_kernel", "images", "kernel_fault", "processes")

    def __init__(self) -> None:
        self.images = Images()
        self.processes: dict[int, Process] = {}
        self.kernel_fault = ""
        self._kernel: KernelSymbols | None = None
        self._frames: dict[tuple[int, int], Frame] = {}

    def process(self, pid: int) -> Process:
        """A process, looked into when it is asked for first: while it lives, that is."""
        found = self.processes.get(pid)
        if found is None:
            found = self.processes[pid] = Process(pid, self.images)
        return found

    def user(self, pid: int, address: int) -> Frame:
        """The function that an address of a process lies in."""
        key = (pid, address)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self.process(pid).frame(address)
        return frame

    def kernel(self, address: int) -> Frame:
        """The function that an address of the kernel lies in."""
        key = (-1, address)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self._kernel_frame(address)
        return frame

    def _kernel_frame(self, address: int) -> Frame:
        if self._kernel is None and not self.kernel_fault:
            try:
                self._kernel = KernelSymbols.read()
            except NotPermitted as error:
                self.kernel_fault = str(error)
        symbol = self._kernel.find(address) if self._kernel else None
        if symbol is None:
            return UNKNOWN._replace(module="[kernel]")
        return Frame(symbol.name, symbol.module, "kernel", address - symbol.address)

    def place(self, build_id: bytes, offset: int) -> Frame:
        """The function at `offset` of the file that was built as `build_id`.

        Of files that processes have mapped which were asked for, and held, before.
        """
        image = self.images.built_as(build_id)
        return UNKNOWN if image is None else frame_in(image, offset)

    def user_stack(self, pid: int, addresses: Iterable[int]) -> list[Frame]:
        """Frames of a process, innermost first.

        All but the first are where a call returns to: the byte before is the call's.
        """
        return [
            self.user(pid, address - (1 if place else 0))
            for place, address in enumerate(addresses)
        ]

    def kernel_stack(self, addresses: Iterable[int]) -> list[Frame]:
        """Frames of the kernel, innermost first, as `user_stack`."""
        return [
            self.kernel(address - (1 if place else 0))
            for place, address in enumerate(addresses)
        ]

    def close(self) -> None:
        """Give all files back; names that were found stay. Closing twice does nothing."""
        self.images.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
