"""Random functions that the program calls."""

from tests.bpf.fuzz.maker import Function, Struct
from tests.bpf.fuzz.maps import Maps
from tests.bpf.fuzz.shapes import KINDS
from tests.bpf.fuzz.statements import Make


class Functions(Maps):
    """Makes functions, and calls of those that give structs."""

    def simple(self) -> list[Make]:
        """What makes statements without blocks."""
        return [*super().simple(), self.fetch]

    def function(self) -> None:
        """A function of integers, and perhaps of a struct."""
        name = self.fresh("f")
        kinds = [self.rng.choice(KINDS[:4]), self.rng.choice(KINDS[4:])]
        kinds += [self.rng.choice(KINDS) for _ in range(self.rng.randrange(2))]
        result, takes = self.rng.choice(KINDS), ""
        params = {
            f"{name}{letter}": k for letter, k in zip("abcd", kinds, strict=False)
        }
        head = [f"{param}: {kind}" for param, kind in params.items()]
        if self.chance(0.5):
            takes = self.rng.choice(list(self.shapes))
            head.insert(0, f"st: {takes}")
        gives = ""
        if self.chance(0.25):
            gives = self.rng.choice(list(self.shapes))
        self._define(name, params, head, takes, gives or result)
        self.functions.append(
            Function(name, tuple(kinds), "" if gives else result, takes, gives)
        )

    def _define(
        self,
        name: str,
        params: dict[str, str],
        head: list[str],
        takes: str,
        result: str,
    ) -> None:
        def body() -> None:
            self.names, self.flags = params | {"extra": "u16"}, []
            self.locals = {}
            self.structs = (
                [Struct("st", self.shapes[takes], own=False)] if takes else []
            )
            self.returns = result
            text = f"def {name}({', '.join(head)}, *, extra: u16 = 9) -> {result}:"
            self.line(0, text)
            depth = self.rng.choice((0, 1))
            if result in self.shapes:
                self.block(1, 0, self.rng.randrange(1, 3))
                self.line(1, f"return {self.made(self.shapes[result])}")
            else:
                self.block(1, depth, self.rng.randrange(1, 3))
                self.leave(1)

        hook, self.hook, self.nested = self.hook, "", True
        room, self.room = self.room, 0
        self.scoped(body)
        self.hook, self.nested, self.room = hook, False, room

    def fetch(self, indent: int, _depth: int) -> None:
        """A struct that a function makes."""
        fitting = [f for f in self.functions if f.gives and not f.takes]
        if not fitting or self.room < 64 or self.inside:
            return
        function = self.rng.choice(fitting)
        self.room -= 64
        self.use("struct returned")
        args = ", ".join(self.name(kind[0]).text for kind in function.kinds)
        name = self.fresh("s")
        self.line(indent, f"{name} = {function.name}({args})")
        self.structs.append(Struct(name, self.shapes[function.gives], own=True))
