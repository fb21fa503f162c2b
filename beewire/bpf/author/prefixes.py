"""Keys of LPM tries: address prefixes, as programs and as Python write them.

    routes = LpmTrie[IPv4Prefix, u32](max_entries=1024)

In programs `routes.lookup(IPv4Prefix(bits=32, address=ip.source))`; in user space also
`routes["10.0.0.0/8"] = 1`, `routes["10.1.2.3"]`, and what `ipaddress` makes.
"""

from __future__ import annotations

from beewire.bpf.lang import Struct
from beewire.bpf.lang.types import array, be32, u8, u32
from beewire.errors import EncodingError
from beewire.hints import TYPE_CHECKING, Any, Callable, Self

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    Prefix = str | IPv4Network | IPv6Network | IPv4Address | IPv6Address

_LENGTH = 4  # bytes of the prefix length that a key begins with
_VERSIONS = {4: "IPv4", 16: "IPv6"}


class IPv4Prefix(Struct):
    """The first `bits` bits of an IPv4 address, which Python sees as a number."""

    bits: u32
    address: be32

    @classmethod
    def of(cls, prefix: Prefix) -> Self:
        """The prefix that a text ("10.0.0.0/8") or an object of `ipaddress` stands for.

        Raises:
            EncodingError: it stands for none, or for one of IPv6.
        """
        return cls.from_bytes(encode_prefix(prefix, cls.__layout__.size))

    @property
    def network(self) -> IPv4Network:
        """The prefix as an `ipaddress.IPv4Network`."""
        from ipaddress import IPv4Network  # noqa: PLC0415 - where it is asked for

        return IPv4Network((self.address, self.bits), strict=False)

    def __str__(self) -> str:
        return str(self.network)


class IPv6Prefix(Struct):
    """The first `bits` bits of an IPv6 address."""

    bits: u32
    address: bytes = array(u8, 16)

    @classmethod
    def of(cls, prefix: Prefix) -> Self:
        """The prefix that a text ("fd00::/8") or an object of `ipaddress` stands for.

        Raises:
            EncodingError: it stands for none, or for one of IPv4.
        """
        return cls.from_bytes(encode_prefix(prefix, cls.__layout__.size))

    @property
    def network(self) -> IPv6Network:
        """The prefix as an `ipaddress.IPv6Network`."""
        from ipaddress import IPv6Network  # noqa: PLC0415 - where it is asked for

        return IPv6Network((self.address, self.bits), strict=False)

    def __str__(self) -> str:
        return str(self.network)


def accepting_prefixes(
    encode: Callable[[Any], bytes], size: int
) -> Callable[[Any], bytes]:
    """`encode`, which makes keys of `size` bytes, for texts and addresses as well."""

    def encode_key(key: Any) -> bytes:
        if isinstance(key, str) or hasattr(key, "max_prefixlen"):
            return encode_prefix(key, size)
        return encode(key)

    return encode_key


def encode_prefix(prefix: Prefix, size: int) -> bytes:
    """A key of `size` bytes for a prefix, or for the whole of an address.

    Raises:
        EncodingError: it is no prefix, or not one that is as long as the keys.
    """
    import ipaddress  # noqa: PLC0415 - where it is asked for
    import sys  # noqa: PLC0415 - as above

    try:
        network = ipaddress.ip_network(prefix)
    except ValueError as error:
        raise EncodingError(f"{prefix!r} is no address or prefix: {error}") from None
    raw = network.network_address.packed
    if len(raw) != size - _LENGTH:
        wanted = _VERSIONS.get(size - _LENGTH, f"a prefix of {size - _LENGTH} bytes")
        raise EncodingError(
            f"the keys are for {wanted}, {prefix} is {_VERSIONS[len(raw)]}"
        )
    return network.prefixlen.to_bytes(_LENGTH, sys.byteorder) + raw
