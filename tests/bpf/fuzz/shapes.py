"""Types of integers, and structs with random fields."""

import random
from typing import NamedTuple

KINDS = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64")
LITERALS: tuple[int, ...] = (
    *(0, 1, 2, 3, 7, 8, 10, 63, 64, 127, 128, 255, 256, 1000, 0x7FFF, 0x8000),
    *(0xFFFF, 0x10000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32),
    *(0x1234_5678_9ABC, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)


def bits(kind: str) -> int:
    """How wide an integer of `kind` is."""
    return int(kind[1:])


class Field(NamedTuple):
    """A field: of an integer kind, a struct, or `length` of one of them."""

    name: str
    kind: "str | Shape"
    length: int = 0

    @property
    def text(self) -> str:
        """Its line in the class."""
        kind = self.kind if isinstance(self.kind, str) else self.kind.name
        if self.length:
            return f"    {self.name}: list[int] = array({kind}, {self.length})"
        return f"    {self.name}: {kind}"


class Shape(NamedTuple):
    """A Struct class."""

    name: str
    fields: tuple[Field, ...]

    @property
    def text(self) -> str:
        """The class."""
        lines = [field.text for field in self.fields]
        return "\n".join([f"class {self.name}(Struct):", *lines, ""])


class Path(NamedTuple):
    """A way to an integer in a struct: ".inner.words[{}]"; `length` of what it indexes, or 0."""

    text: str
    kind: str
    length: int = 0


def paths(shape: Shape) -> list[Path]:
    """All integers in a struct."""
    found: list[Path] = []
    for field in shape.fields:
        dotted = f".{field.name}"
        if isinstance(field.kind, Shape):
            inner = paths(field.kind)
            at = f"{dotted}[0]" if field.length else dotted
            found += [Path(f"{at}{p.text}", p.kind, p.length) for p in inner]
        elif field.length:
            found.append(Path(f"{dotted}[{{}}]", field.kind, field.length))
        else:
            found.append(Path(dotted, field.kind))
    return found


def shape(rng: random.Random, name: str, inner: Shape | None = None) -> Shape:
    """A struct with fields of either sign; `inner` lies in it once, or twice."""
    fields = [Field("p0", rng.choice(KINDS[:4])), Field("n0", rng.choice(KINDS[4:]))]
    for number in range(rng.randrange(1, 5)):
        kind = rng.choice(KINDS)
        count = rng.choice((0, 0, 2, 4))
        fields.append(Field(f"{'w' if count else 'f'}{number + 1}", kind, count))
    if inner is not None:
        fields.append(Field("inner", inner))
        if rng.random() < 0.3:
            fields.append(Field("pair", inner, 2))
    rng.shuffle(fields)
    return Shape(name, tuple(fields))


def record(rng: random.Random) -> Shape:
    """A struct of integers only, as ring buffers carry them."""
    fields = [
        Field(f"r{number}", rng.choice(KINDS)) for number in range(rng.randrange(2, 6))
    ]
    return Shape("Record", tuple(fields))
