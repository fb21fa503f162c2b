"""Types of integers, and structs with random fields."""

import random
from typing import NamedTuple

KINDS = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64")
LITERALS: tuple[int, ...] = (
    *(0, 1, 2, 3, 7, 8, 10, 63, 64, 127, 128, 255, 256, 1000, 0x7FFF, 0x8000),
    *(0xFFFF, 0x10000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32),
    *(0x1234_5678_9ABC, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)


NETWORK = ("be16", "be32", "be64")


def bits(kind: str) -> int:
    """How wide an integer of `kind` is."""
    return int(kind.lstrip("uibe"))


class Field(NamedTuple):
    """A field: of an integer kind, a struct, or `length` of one of them.

    `special` is the rest of its line where it is a bit-field or a text.
    """

    name: str
    kind: "str | Shape"
    length: int = 0
    special: str = ""

    @property
    def text(self) -> str:
        """Its line in the class."""
        kind = self.kind if isinstance(self.kind, str) else self.kind.name
        if self.special == " = enum":
            return f"    {self.name}: Color"
        if self.special == " = flags":
            return f"    {self.name}: {kind}"
        if self.special:
            return f"    {self.name}: {kind}{self.special}"
        if self.length:
            return f"    {self.name}: list[int] = array({kind}, {self.length})"
        return f"    {self.name}: {kind}"


class Shape(NamedTuple):
    """A Struct class, or a Union; `options` as the class is made."""

    name: str
    fields: tuple[Field, ...]
    base: str = "Struct"
    options: str = ""

    @property
    def text(self) -> str:
        """The class."""
        lines = [field.text for field in self.fields]
        head = f"class {self.name}({self.base}{self.options}):"
        return "\n".join([head, *lines, ""])

    def has(self, word: str) -> bool:
        """Whether its class, or one of its fields, is of such a kind."""
        return word in self.text


class Path(NamedTuple):
    """A way to an integer in a struct: ".inner.words[{}]"; `length` of what it indexes.

    `is_plain` where it has an address of its own, which a bit-field has not.
    """

    text: str
    kind: str
    length: int = 0
    is_plain: bool = True


def paths(shape: Shape) -> list[Path]:
    """All integers in a struct."""
    found: list[Path] = []
    for field in shape.fields:
        dotted = f".{field.name}"
        if isinstance(field.kind, Shape):
            at = f"{dotted}[0]" if field.length else dotted
            inner = paths(field.kind)
            found += [path._replace(text=f"{at}{path.text}") for path in inner]
        elif field.kind not in (*KINDS, *NETWORK):
            continue
        elif field.length:
            found.append(Path(f"{dotted}[{{}}]", field.kind, field.length))
        else:
            is_plain = not field.special.startswith(" = bits")
            found.append(Path(dotted, field.kind, is_plain=is_plain))
    return found


def shape(rng: random.Random, name: str, inner: Shape | None = None) -> Shape:
    """A struct with fields of either sign; `inner` lies in it once, or twice."""
    fields = [Field("p0", rng.choice(KINDS[:4])), Field("n0", rng.choice(KINDS[4:]))]
    fields += [_field(rng, number) for number in range(1, rng.randrange(2, 6))]
    if inner is not None:
        fields.append(Field("inner", inner))
        if rng.random() < 0.3:
            fields.append(Field("pair", inner, 2))
        if rng.random() < 0.3:
            fields.append(Field("either", _union(rng)))
    rng.shuffle(fields)
    options = ""
    if rng.random() < 0.15:
        options = rng.choice((", packed=True", ", align=16"))
    return Shape(name, tuple(fields), options=options)


def _field(rng: random.Random, number: int) -> Field:
    kind = rng.choice(KINDS)
    chance = rng.random()
    if chance < 0.12:
        return Field(f"be{number}", rng.choice(NETWORK))
    if chance < 0.24:
        width = rng.randrange(1, bits(kind))
        return Field(f"b{number}", kind, special=f" = bits({width})")
    if chance < 0.31:
        return Field(f"fl{number}", "Annotated[Flag, u8]", special=" = flags")
    if chance < 0.37:
        return Field(f"c{number}", "u32", special=" = enum")
    if chance < 0.46:
        return Field(f"t{number}", "str", special=" = chars(8)")
    length = rng.choice((0, 0, 2, 4))
    return Field(f"{'w' if length else 'f'}{number}", kind, length)


def _union(rng: random.Random) -> Shape:
    fields = (
        Field("whole", rng.choice(("u64", "i64"))),
        Field("part", rng.choice(("u16", "i32", "u8"))),
        Field("words", rng.choice(("u16", "u8", "i16")), 4),
    )
    return Shape("Either", fields, base="Union")


def record(rng: random.Random) -> Shape:
    """A struct of integers only, as ring buffers carry them."""
    fields = [
        Field(f"r{number}", rng.choice(KINDS)) for number in range(rng.randrange(2, 6))
    ]
    return Shape("Record", tuple(fields))
