"""Random functions that the program calls."""

from tests.bpf.fuzz.maker import Function, Struct
from tests.bpf.fuzz.maps import Maps
from tests.bpf.fuzz.shapes import KINDS
from tests.bpf.fuzz.statements import Make

GLOBAL = "@subprogram(is_global=True)"
MARKS = ("", "", "@inline", "@subprogram", "@subprogram", GLOBAL)
# Order does not matter to them: the kernel goes over a table in its own.
CALLBACKS = """\
class Sums(Struct):
    total: u64
    calls: u32
def fold(i: u32, sums: Sums) -> bool:
    sums.total = sums.total * 31 + i
    sums.calls += 1
    return sums.total & 63 == 7
def visit(key: u32, value: Ref[u64], sums: Sums) -> None:
    sums.total += value.value ^ key
    sums.calls += 1
def look(key: u32, value: Outer, sums: Sums) -> None:
    sums.total ^= u64(value.p0) * (key + 1)
"""


class Functions(Maps):
    """Makes functions, and calls of those that give structs."""

    def simple(self) -> list[Make]:
        """What makes statements without blocks."""
        return [
            *super().simple(),
            self.fetch,
            self.fetch,
            self.several,
            self.several,
            self.rounds,
        ]

    def function(self) -> None:
        """A function of integers, and perhaps of a struct."""
        name = self.fresh("f")
        mark = self.rng.choice(MARKS)
        kinds = [self.rng.choice(KINDS[:4]), self.rng.choice(KINDS[4:])]
        takes = gives = ""
        if self.chance(0.5):
            takes = self.rng.choice(list(self.shapes))
        result = self.rng.choice(KINDS)
        if mark != GLOBAL and self.chance(0.4):
            gives = self.rng.choice(list(self.shapes))
        elif mark != GLOBAL and self.chance(0.4):
            gives = f"tuple[{self.rng.choice(KINDS[:4])}, {self.rng.choice(KINDS[4:])}]"
        params = {f"{name}a": kinds[0], f"{name}b": kinds[1]}
        head = [f"{param}: {kind}" for param, kind in params.items()]
        if takes:
            head.insert(0, f"st: {takes}")
        if mark:
            self.use("subprogram" if mark.startswith("@subprogram") else "inline")
            self.use("global function" if mark == GLOBAL else "function")
            self.line(0, mark)
        self._define(name, params, head, takes, gives or result)
        shown = "" if gives else result
        self.functions.append(Function(name, tuple(kinds), shown, takes, gives))

    def _define(
        self,
        name: str,
        params: dict[str, str],
        head: list[str],
        takes: str,
        result: str,
    ) -> None:
        is_global = self.lines[-1:] == [GLOBAL]

        def body() -> None:
            self.names, self.flags = params | {"extra": "u16"}, []
            self.locals = {}
            # A global function does not know who else writes what it is given.
            given = (
                Struct("st", self.shapes[takes], shared=is_global) if takes else None
            )
            self.structs = [] if given is None else [given]
            self.returns = result
            self.line(
                0, f"def {name}({', '.join(head)}, *, extra: u16 = 9) -> {result}:"
            )
            depth = self.rng.choice((0, 1))
            if result in self.shapes:
                self.block(1, 0, self.rng.randrange(1, 3))
                self.line(1, f"return {self.made(self.shapes[result])}")
            elif result.startswith("tuple"):
                self.block(1, 0, self.rng.randrange(1, 3))
                one, other = result[6:-1].split(", ")
                first, second = self.typed(one[0], 2), self.typed(other[0], 2)
                self.line(1, f"return {one}({first.text}), {other}({second.text})")
            else:
                self.block(1, depth, self.rng.randrange(1, 3))
                self.leave(1)

        hook, self.hook, self.nested = self.hook, "", True
        room, self.room = self.room, 0
        self.scoped(body)
        self.hook, self.nested, self.room = hook, False, room

    def several(self, indent: int, _depth: int) -> None:
        """Two values that a function returns."""
        fitting = [f for f in self.functions if f.gives.startswith("tuple")]
        fitting = [f for f in fitting if not f.takes]
        if not fitting or self.inside:
            return
        function = self.rng.choice(fitting)
        self.use("several results")
        args = ", ".join(self.name(kind[0]).text for kind in function.kinds)
        one, other = self.fresh(), self.fresh()
        self.line(indent, f"{one}, {other} = {function.name}({args})")
        self.names |= {one: "u64", other: "i64"}

    def callback(self) -> None:
        """Functions that `loop` and `for_each` call."""
        self.lines += CALLBACKS.splitlines()

    def rounds(self, indent: int, _depth: int) -> None:
        """`loop(n, body, sums)`, `kept.for_each(...)`."""
        if self.inside or self.nested or self.room < 32:
            return
        self.room -= 32
        name = self.fresh("c")
        start = self.name("u").text
        self.line(indent, f"{name} = Sums(total={start})")
        if self.chance(0.5):
            self.use("callback: loop")
            count = f"{self.name('u').text} & {self.rng.choice((3, 15, 63))}"
            self.line(indent, f"loop({count}, fold, {name})")
        else:
            self.use("callback: for_each")
            table = "plain" if self.chance(0.5) else "kept"
            visit = {"plain": "visit", "kept": "look"}[table]
            self.line(indent, f"{table}.for_each({visit}, {name})")
        self.line(indent, f"mark.value ^= {name}.total")

    def fetch(self, indent: int, _depth: int) -> None:
        """A struct that a function makes."""
        fitting = [f for f in self.functions if f.gives in self.shapes and not f.takes]
        if not fitting or self.room < 64 or self.inside:
            return
        function = self.rng.choice(fitting)
        self.room -= 64
        self.use("struct returned")
        args = ", ".join(self.name(kind[0]).text for kind in function.kinds)
        name = self.fresh("s")
        self.line(indent, f"{name} = {function.name}({args})")
        self.structs.append(Struct(name, self.shapes[function.gives], own=True))
