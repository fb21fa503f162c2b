"""Peers on the rig of `beewire bench mesh`: merbridge's kind of programs, Envoy's sockmap."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from beewire.errors import MeshError
from beewire.mesh.lab import load

HERE = Path(__file__).parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
CLANG = ("clang-19", "clang", "clang-16", "clang-15", "clang-14")


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The benchmarks' helpers, which lie beside them."""
    pytest.importorskip("pyroute2", reason="needs the extra `lab`")
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of merbridge's shape, compiled."""
    clang = next((found for each in CLANG if (found := shutil.which(each))), None)
    if clang is None:
        pytest.skip("clang is not installed")
    directory = tmp_path_factory.mktemp("peer") / "bpf"
    directory.mkdir()
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    for source in sorted((HERE / "peer").glob("*.c")):
        target = directory / f"{source.stem}.o"
        command = [clang, "-O2", "-g", "-target", "bpf", include]
        command += ["-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)
    return directory.parent


@pytest.mark.mesh
def test_programs_of_a_checkout_carry_the_load(checkout: Path) -> None:
    variants = module("_mesh_variants")
    asked = variants.Asked(merbridge=checkout)
    workload = module("_mesh_workloads").WORKLOADS["http_c16"]

    with variants.VARIANTS["merbridge"].running(asked) as rig:
        result = load(rig.lab.a, rig.lab.b, workload.load(80, 1))
        way = module("_mesh_cells").warm_up(rig, workload, 80)
        joined = rig.interception.maps["pair_original_dst"]

        assert min(way.sidecars) > 0
        assert result.requests > 0
        assert result.errors == 0
        assert len(list(joined)) > 0


@pytest.mark.mesh
def test_a_directory_without_programs_is_told(tmp_path: Path) -> None:
    variants = module("_mesh_variants")
    asked = variants.Asked(merbridge=tmp_path)

    with (
        pytest.raises(
            MeshError, match=r"mb_connect\.o cannot be read: give a checkout"
        ),
        variants.VARIANTS["merbridge"].running(asked),
    ):
        pass


def test_without_a_checkout_it_says_how_to_have_one() -> None:
    variants = module("_mesh_variants")

    with (
        pytest.raises(MeshError, match="give --merbridge DIR"),
        variants.VARIANTS["merbridge"].running(variants.Asked()),
    ):
        pass


@pytest.mark.mesh
def test_an_envoy_with_a_stub_says_so_itself() -> None:
    variants = module("_mesh_variants")

    with (
        pytest.raises(MeshError, match="sockmap acceleration was not compiled in"),
        variants.VARIANTS["envoy_sockmap"].running(variants.Asked()),
    ):
        pass
