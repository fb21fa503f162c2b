"""BPF_PROG_LOAD: hand one program over, and learn why when it is refused."""

import errno

from beewire.bpf.kernel.assemble import Image
from beewire.bpf.kernel.attempt import Attempt, Records
from beewire.bpf.kernel.target import Hook, Target
from beewire.bpf.kernel.type_ids import TypeIds
from beewire.bpf.object import ProgramSpec


def submit(
    program: ProgramSpec,
    image: Image,
    records: Records,
    types: TypeIds,
    target: Target,
    hook: Hook | None = None,
) -> int:
    """Load one program; returns its descriptor, which the caller closes.

    `hook` is what it hooks, where its section alone does not tell (struct_ops).

    Raises:
        VerifierError: the verifier refused it; carries its log and the Python line.
        NotPermitted: a capability is missing.
        NotSupported: the kernel lacks something that the program needs.
    """
    purpose = (
        f"program {program.name!r}, which reads kernel structures by name (CO-RE),"
    )
    if image.core_relos:
        if target.core_types is None:
            target.require_btf(purpose)
        if not target.applies_core or target.core_types is not None:
            _apply_core(image, target, types, purpose)
    hook = hook or target.hook(program)
    attempt = Attempt(program, image, records, types, hook)
    result = attempt.call()
    # Before 5.17 the attr with CO-RE records is longer than what the kernel knows. A
    # program that is too large comes this way too, and is refused again.
    if result == -errno.E2BIG and image.core_relos:
        _apply_core(image, target, types, purpose)
        attempt = Attempt(program, image, records, types, hook)
        result = attempt.call()
        target.applies_core = result < 0
    if result >= 0:
        return result
    from beewire.bpf.kernel import verdict  # noqa: PLC0415 - errors only

    return verdict.second_try(program, image, attempt, -result)


def _apply_core(image: Image, target: Target, types: TypeIds, purpose: str) -> None:
    # On older kernels, or for other types, only.
    from beewire.bpf.btf import Resolver  # noqa: PLC0415
    from beewire.bpf.object.core import patch  # noqa: PLC0415

    if target.core_types is not None:
        resolver = Resolver(target.core_types, types.builder.id)
    else:
        index = target.index(purpose)
        resolver = Resolver(index, types.builder.id, target.modules_with)
    patch(image.insns, image.core_relos, resolver)
    image.patched += image.core_relos
    image.core_relos.clear()
