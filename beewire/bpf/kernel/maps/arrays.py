"""Maps as numpy arrays. numpy is imported when it is first asked for."""

from typing import Any

from beewire.bpf.btf.dtypes import layout
from beewire.bpf.kernel.maps.shape import Shape
from beewire.bpf.kernel.maps.walk import chunks
from beewire.bpf.object import MapKind, MapSpec
from beewire.errors import MapError


def entries(shape: Shape, spec: MapSpec) -> Any:
    """(keys, values) of every entry; of an array, whose keys are indices, the values.

    Values of a per-CPU map have a second axis, the CPUs.
    """
    np = imported()
    keys, values = bytearray(), bytearray()
    for some_keys, some_values, _ in chunks(shape):
        keys += some_keys
        values += some_values
    found = columns(spec, values, shape.value_size)
    if spec.kind in (MapKind.ARRAY, MapKind.PERCPU_ARRAY):
        return found
    return np.frombuffer(keys, dtype(spec.key, spec.key_size)), found


def columns(spec: MapSpec, values: Any, width: int) -> Any:
    """Packed values of `width` bytes, those of all CPUs, as an array over `values`."""
    np = imported()
    kind = dtype(spec.value, spec.value_size)
    count, stride = len(values) // width, spec.value_size + 7 & ~7
    if width == spec.value_size:
        return np.frombuffer(values, kind)
    # The kernel rounds each CPU's part, and each entry of a mapped array, up to 8 bytes.
    if width == stride and spec.kind is MapKind.ARRAY:
        return np.ndarray((count,), kind, values, strides=(stride,))
    cpus = width // stride
    return np.ndarray((count, cpus), kind, values, strides=(width, stride))


def dtype(type_: Any, size: int) -> Any:
    """The dtype of values of a BTF type; without one, bytes."""
    return imported().dtype(layout(type_, size))


def imported(instead: str = "use to_dict()") -> Any:
    """The numpy module; `instead` is what to do without.

    Raises:
        MapError: it is not installed.
    """
    try:
        import numpy  # noqa: ICN001, PLC0415 - not where it is not asked for
    except ImportError:
        raise MapError(
            f"numpy is not installed: pip install 'beewire[numpy]', or {instead}"
        ) from None
    return numpy
