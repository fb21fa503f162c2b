"""Programs at static probes: one variant for each form that their arguments have."""

from __future__ import annotations

import os

from beewire.bpf.author.bound import home_of
from beewire.bpf.author.program import F, Program
from beewire.bpf.lang import ProgramDecl
from beewire.bpf.lang.trace_contexts import Usdt
from beewire.errors import BeewireError
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel import EventLink
    from beewire.bpf.lang.contexts import Context


class UsdtProgram(Program[F]):
    """Runs at a static probe of user space: `place` is "path:provider:name".

    A compiler may keep the arguments elsewhere at each place of a probe. The program
    itself is for the first form that the file has; `variants` are for the others.
    """

    place: str = ""
    operands: str = ""
    _variants: tuple[ProgramDecl, ...] | None = None

    @property
    def variants(self) -> tuple[ProgramDecl, ...]:  # type: ignore[override]  # read only
        """The same program for the other forms of arguments; looks into the file."""
        if self._variants is None:
            self._variants = self._resolve()
        return self._variants

    def _resolve(self) -> tuple[ProgramDecl, ...]:
        try:
            forms = _forms(self.place)
        except BeewireError as error:
            # Told where an argument is read: a program of registers needs none.
            self.context = _context((), str(error))
            return ()
        self.operands = forms[0]
        self.context = _parsed(forms[0])
        return tuple(
            _variant(self, form, number) for number, form in enumerate(forms[1:], 1)
        )

    def attach(
        self, place: str = "", *, pid: int = -1, cookie: int = 0, way: str = ""
    ) -> EventLink:
        """Run it whenever the probe is passed, until the Link is closed.

        `place` is another file with the same probe, whose arguments are as in the one
        that it was compiled for. `pid` is one process, -1 all. A counter that the probe
        has (a semaphore) is raised meanwhile. `cookie` and `way` are as those of
        kprobes.

        Raises:
            AttachError: There is no such probe, or its arguments are elsewhere.
            NotPermitted: CAP_PERFMON is missing.
        """
        declared = self.origin or self
        live = self.live
        programs = {self.operands: live}
        home = home_of(self)
        for variant in declared.variants:
            programs[variant.operands] = home.program(variant)  # type: ignore[attr-defined]  # one of UsdtVariant
        from beewire.bpf.kernel import attach_usdt  # noqa: PLC0415

        if self.context.problem:  # type: ignore[attr-defined]  # a Usdt
            programs = {"": live}
        return attach_usdt(
            programs, place or self.place, pid=pid, cookie=cookie, way=way
        )


class UsdtVariant(Program[F]):
    """The program of a static probe for another form of its arguments."""

    operands: str = ""


def _variant(program: UsdtProgram[F], form: str, number: int) -> ProgramDecl:
    name = program.name if program.is_named else program.function.__name__
    found: UsdtVariant[F] = UsdtVariant(
        program.function,
        kind=program.kind,
        section=program.section,
        context=_parsed(form),
        attach_kind=program.attach_kind,
        attach_to=program.attach_to,
        name=f"{name}_{number}",
        flags=program.flags,
    )
    found.operands = form
    return found


def _forms(place: str) -> list[str]:
    """The texts that notes of a probe have for its arguments, each once."""
    from beewire.bpf.kernel.binaries import Binary  # noqa: PLC0415 - the kernel room
    from beewire.bpf.kernel.links.usdt import find_probes, split_usdt  # noqa: PLC0415

    path, provider, name = split_usdt(place)
    with Binary.find(path) as binary:
        found = find_probes(binary, provider, name)
    return list(dict.fromkeys(each.operands for each in found))


def _parsed(form: str) -> type[Context]:
    from beewire.symbols.stapsdt import parse_operands  # noqa: PLC0415 - as above

    return _context(parse_operands(form, os.uname().machine), "")


def _context(operands: tuple[object, ...], problem: str) -> type[Context]:
    facts = {"operands": operands, "problem": problem, "__module__": __name__}
    return type("Usdt", (Usdt,), facts)
