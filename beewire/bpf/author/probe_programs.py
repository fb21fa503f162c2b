"""Programs at probes: functions of the kernel, and of user space."""

from __future__ import annotations

from beewire.bpf.author.program import F, Program
from beewire.errors import AttachError
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel import EventLink, MultiLink
    from beewire.hints import Mapping


class KprobeProgram(Program[F]):
    """Runs at a kernel function: `function`, `offset` bytes into it, or at its return."""

    place: str = ""
    offset: int = 0
    returns: bool = False

    def attach(self, *, cookie: int = 0, way: str = "") -> EventLink:
        """Run it whenever the function is called, until the Link is closed.

        `helpers.get_attach_cookie(ctx)` gives `cookie` (Linux 5.15). `way` takes an
        older way than the newest: "ioctl", "tracefs".

        Raises:
            AttachError: There is no such function, or no probe may be in it.
            NotPermitted: CAP_PERFMON is missing.
            NotSupported: The kernel is built without kprobes.
        """
        live = self.live
        from beewire.bpf.kernel import attach_kprobe  # noqa: PLC0415

        return attach_kprobe(
            live,
            self.place,
            offset=self.offset,
            returns=self.returns,
            cookie=cookie,
            way=way,
        )


class KsyscallProgram(Program[F]):
    """Runs where a system call is entered, or returns; `place` is its name."""

    place: str = ""
    returns: bool = False

    def attach(self, *, cookie: int = 0, way: str = "") -> EventLink:
        """Run it whenever any process makes the call, until the Link is closed.

        Native calls, not those of 32-bit programs. `cookie` and `way` are as those of
        kprobes.

        Raises:
            AttachError: This kernel has no such system call.
            NotPermitted: CAP_PERFMON is missing.
            NotSupported: The kernel is built without kprobes.
        """
        live = self.live
        from beewire.bpf.kernel import attach_ksyscall  # noqa: PLC0415

        return attach_ksyscall(
            live,
            self.place,
            returns=self.returns,
            cookie=cookie,
            way=way,
            wrapped=not self.returns,
        )


class KprobeMultiProgram(Program[F]):
    """Runs at many kernel functions: all that a pattern matches, or those in a list."""

    places: tuple[str, ...] = ()
    returns: bool = False

    def attach(
        self, *places: str, cookies: Mapping[str, int] | None = None, way: str = ""
    ) -> MultiLink | EventLink:
        """Run it whenever one of the functions is called, until the Link is closed.

        `places` are a pattern ("tcp_*") or names, in place of the decorator's. `cookies`
        say by function what `helpers.get_attach_cookie(ctx)` gives. `way="ioctl"`
        takes a perf event for each function, as kernels without such links do.

        Raises:
            AttachError: There is no such function, or no probe may be in it.
            NotPermitted: CAP_PERFMON is missing.
            NotSupported: A session, on a kernel without (before Linux 6.10).
        """
        live = self.live
        from beewire.bpf.kernel import attach_kprobe_multi  # noqa: PLC0415

        wanted = _several(places or self.places, self.section)
        return attach_kprobe_multi(
            live, wanted, returns=self.returns, cookies=cookies or {}, way=way
        )


class UprobeProgram(Program[F]):
    """Runs at a function of a program or library: `place` is "path:function"."""

    place: str = ""
    returns: bool = False

    def attach(
        self,
        place: str = "",
        *,
        pid: int = -1,
        counter: int = 0,
        cookie: int = 0,
        way: str = "",
    ) -> EventLink:
        """Run it whenever the function is called, until the Link is closed.

        `place` is "path:function", in place of the decorator's: "/bin/bash:readline",
        "libc:malloc", "/bin/bash:0x1234" (an offset into the file). `pid` is one
        process; -1 all. `counter` is the file offset of a counter that the kernel
        raises meanwhile. `cookie` and `way` are as those of kprobes.

        Raises:
            AttachError: There is no such file or function.
            NotPermitted: CAP_PERFMON is missing.
        """
        live = self.live
        from beewire.bpf.kernel import attach_uprobe, split_place  # noqa: PLC0415

        path, function = split_place(place or self.place)
        return attach_uprobe(
            live,
            path,
            function,
            returns=self.returns,
            pid=pid,
            counter=counter,
            cookie=cookie,
            way=way,
        )


class UprobeMultiProgram(Program[F]):
    """Runs at many functions of one program or library."""

    path: str = ""
    places: tuple[str, ...] = ()
    returns: bool = False

    def attach(
        self,
        path: str = "",
        *places: str,
        pid: int = -1,
        cookies: Mapping[str, int] | None = None,
        way: str = "",
    ) -> MultiLink | EventLink:
        """Run it whenever one of the functions is called, until the Link is closed.

        `path`, and a pattern ("Py_*") or names, are in place of the decorator's; the
        rest is as `UprobeProgram` and `KprobeMultiProgram` have it.

        Raises:
            AttachError: There is no such file or function.
            NotPermitted: CAP_PERFMON is missing.
        """
        live = self.live
        from beewire.bpf.kernel import attach_uprobe_multi  # noqa: PLC0415

        wanted = _several(places or self.places, self.section)
        return attach_uprobe_multi(
            live,
            path or self.path,
            wanted,
            returns=self.returns,
            pid=pid,
            cookies=cookies or {},
            way=way,
        )


def _several(places: tuple[str, ...], section: str) -> str | tuple[str, ...]:
    """One pattern, or names."""
    if not places:
        raise AttachError(
            f"a program of {section} is attached to functions: give a pattern, or names"
        )
    is_pattern = len(places) == 1 and any(sign in places[0] for sign in "*?[")
    return places[0] if is_pattern else places
