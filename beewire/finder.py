"""Finds this package's modules without searching for them.

Python looks for a module along a path: for each it asks several finders, which list
directories and try names. Where the modules of this package are is known, so its own
finder asks for the one file, and reads the bytecode beside it if that is of this source.
Measured: 45 us less a module, of which a program's start takes 160. Whatever is unusual
(no bytecode, bytecode of another kind, a zip file) is left to Python's own ways.
"""

import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from marshal import loads

TYPE_CHECKING = False  # checkers take a variable of this name for true
if TYPE_CHECKING:
    from types import CodeType

_BYTECODE = f".{sys.implementation.cache_tag}.pyc"
_PREFIX = "beewire."
_FLAGS = posix.O_RDONLY | posix.O_CLOEXEC


class _Loader(SourceFileLoader):
    """Reads bytecode in the form that Python writes by default, checked by its source."""

    def __init__(self, fullname: str, path: str, source: posix.stat_result) -> None:
        super().__init__(fullname, path)
        self.source = source

    def get_code(self, fullname: str) -> "CodeType | None":
        code = _cached(self.path, self.source)
        return super().get_code(fullname) if code is None else code


def _cached(path: str, source: posix.stat_result) -> "CodeType | None":
    try:
        file = posix.open(_bytecode(path), _FLAGS)
    except OSError:
        return None
    try:
        data = posix.read(file, posix.fstat(file).st_size)
    finally:
        posix.close(file)
    # PEP 552: magic number, flags (0: by time and size), time, size.
    stamp = int(source.st_mtime) & 0xFFFF_FFFF, source.st_size & 0xFFFF_FFFF
    wanted = b"".join([n.to_bytes(4, "little") for n in (0, *stamp)])
    if data[:4] != MAGIC_NUMBER or data[4:16] != wanted:
        return None
    code: CodeType = loads(memoryview(data)[16:])
    return code


def _bytecode(path: str) -> str:
    directory, _, name = path.rpartition("/")
    return f"{directory}/__pycache__/{name[:-3]}{_BYTECODE}"


class Finder:
    """A finder for sys.meta_path that knows the one place."""

    def __init__(self, root: str) -> None:
        self.root = root

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Where a module of this package is; None for others, and where it is not."""
        del path, target
        if not fullname.startswith(_PREFIX):
            return None
        place = f"{self.root}/{fullname[len(_PREFIX) :].replace('.', '/')}"
        for file, inside in ((f"{place}.py", None), (f"{place}/__init__.py", [place])):
            try:
                source = posix.stat(file)
            except OSError:
                continue
            spec = ModuleSpec(
                fullname,
                _Loader(fullname, file, source),
                origin=file,
                is_package=inside is not None,
            )
            spec.submodule_search_locations = inside
            spec.has_location = True
            spec.cached = _bytecode(file)
            return spec
        return None


def install(package: ModuleSpec | None) -> None:
    """Let modules of `package` be found so, where it is files in a directory."""
    if package is None or type(package.loader) is not SourceFileLoader:
        return
    if package.origin and sys.pycache_prefix is None:
        sys.meta_path.insert(0, Finder(package.origin.rpartition("/")[0]))
