"""Programs that stay in the kernel under a directory of pins, and are found there again.

    with load(programs) as loaded:
        loaded.pin("/sys/fs/bpf/mine")

    with open_pinned(programs, "/sys/fs/bpf/mine") as loaded:     # compiles nothing
        loaded[table][key] = 1
        loaded[outbound].attach(cgroup).pin("/sys/fs/bpf/mine/links/pod")

Programs lie in `programs/` of the directory, maps and globals in `maps/`, each under its
name.
"""

from __future__ import annotations

import os

from beewire.bpf import kernel
from beewire.bpf.author.alone import around
from beewire.bpf.author.collection import Collection, Reached, Source, reach
from beewire.bpf.author.home import Home
from beewire.bpf.author.loaded import MAPS, PROGRAMS, Loaded, section_pin
from beewire.bpf.lang import ProgramDecl, lay_out_globals
from beewire.bpf.object import ProgramSpec
from beewire.errors import SpecError


def open_pinned(source: Source, directory: str, *, name: str = "") -> Loaded:
    """What `Loaded.pin` left below `directory`, as the declarations of `source` see it.

    Nothing is compiled: the programs are those that were pinned, whatever their source
    says by now. Their maps have to be what is declared.

    Raises:
        KernelError: Something is not pinned there.
        SpecError: A map is of another kind or size, or holds something else.
    """
    reached = reach(source, name)
    home = Home()
    part = kernel.Loaded(reached.name)
    home.parts.append(part)
    try:
        for key, declared in reached.maps.items():
            path = f"{directory}/{MAPS}/{key}"
            live = kernel.Map.from_pin(path)
            around(declared, live, f"the map pinned at {path}")
            part.own(live)
            part.maps[key] = live
            home.found(declared, live)
        _open_sections(reached, directory, part, home)
        for key, program in reached.programs.items():
            path = f"{directory}/{PROGRAMS}/{key}"
            opened = kernel.Program.from_pin(path, outline(program))
            part.own(opened)
            part.programs[key] = opened
            home.found(program, opened)
    except BaseException:
        home.close()
        raise
    return Loaded(Collection(reached), home)


def open_maps(
    source: Source, directory: str, *, name: str = ""
) -> tuple[dict[str, kernel.AnyMap], dict[str, kernel.AnyMap]]:
    """The maps that `Loaded.pin` left below `directory`: those that fit, and the others.

    The first are what `source` declares, and can be given to `load(maps=...)`. The second
    have another kind, size or type by now: keys and values are bytes. Those that are not
    pinned there are in neither. The caller closes all of them.
    """
    fitting: dict[str, kernel.AnyMap] = {}
    others: dict[str, kernel.AnyMap] = {}
    for key, declared in reach(source, name).maps.items():
        path = f"{directory}/{MAPS}/{key}"
        if not os.path.exists(path):  # noqa: PTH110 - no pathlib in the toolkit
            continue
        live = kernel.Map.from_pin(path)
        try:
            around(declared, live, f"the map pinned at {path}")
            fitting[key] = live
        except SpecError:
            others[key] = kernel.Map.from_pin(path)
    return fitting, others


def _open_sections(
    reached: Reached, directory: str, part: kernel.Loaded, home: Home
) -> None:
    if not reached.globals:
        return
    for name, section in lay_out_globals(reached.globals).items():
        path = f"{directory}/{MAPS}/{section_pin(name)}"
        live = kernel.Map.from_pin(path)
        part.own(live)
        if live.spec.value_size != len(section.content):
            raise SpecError(
                f"the globals pinned at {path} are {live.spec.value_size} bytes, the"
                f" programs expect {len(section.content)}"
            )
        part.sections[name] = kernel.Section(live, section.variables)
        part.own(part.sections[name])
    for variable in reached.globals.values():
        home.found_section(variable, part.sections[variable.section])


def outline(program: ProgramDecl) -> ProgramSpec:
    """A program's spec without its instructions: enough to attach it by."""
    return ProgramSpec(
        program.name,
        kind=program.kind,
        section=program.section,
        insns=(),
        attach_kind=program.attach_kind,
        attach_to=program.attach_to,
    )
