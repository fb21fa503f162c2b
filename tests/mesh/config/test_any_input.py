"""Whatever a file holds, it is read, or refused with a sentence."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beewire.errors import UsageError
from beewire.mesh.config import (
    combine,
    parse_file,
    read_annotations,
    read_flags,
    read_pod,
    read_values,
    refusals,
    write_file,
)
from beewire.mesh.config.annotations import ANNOTATIONS
from beewire.mesh.config.file import PATHS
from beewire.mesh.config.knobs import KNOBS

WORDS = sorted(
    {word for path in PATHS for word in path.split(".")}
    | {"kind", "metadata", "spec", "containers", "initContainers", "env", "name"}
    | {"value", "args", "status", "podIPs", "ip", "annotations", "labels", "Pod"}
    | {"istio-proxy", "istio-init", "global", "proxy", "meshConfig", "defaultConfig"}
    | {"origins", "defaults", "sidecar", "template", "Deployment", "List", "items"}
    | {"80", "*", "10.0.0.0/8", "true", "TPROXY", "-b", "-i", "securityContext"}
    | set(ANNOTATIONS)
)
texts = st.sampled_from(WORDS) | st.text(max_size=8)
leaves = texts | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False)
trees = st.recursive(
    leaves,
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(tree=trees)
def test_any_tree_is_a_file_or_refused(tree: object) -> None:
    with suppress(UsageError):
        found = combine(parse_file(json.dumps(tree)))

        assert combine(parse_file(write_file(found))).config == found.config


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_is_a_file_or_refused(text: str) -> None:
    with suppress(UsageError):
        combine(parse_file(text))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "pod.yaml"


@settings(deadline=None)
@given(spec=trees, annotations=st.dictionaries(texts, texts, max_size=4), status=trees)
def test_any_pod_is_read_or_refused(
    file: Path, spec: object, annotations: dict[str, str], status: object
) -> None:
    metadata = {"annotations": annotations}
    pod = {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
    file.write_text(json.dumps(pod))

    with suppress(UsageError):
        refusals(combine(read_pod(file).layer).settings)


@settings(deadline=None)
@given(tree=trees)
def test_any_tree_is_values_or_refused(file: Path, tree: object) -> None:
    file.write_text(json.dumps(tree))

    with suppress(UsageError):
        combine(read_values(file))


@settings(deadline=None)
@given(
    annotations=st.dictionaries(st.sampled_from(sorted(ANNOTATIONS)), texts, max_size=6)
)
def test_any_annotations_are_read_or_refused(annotations: dict[str, str]) -> None:
    with suppress(UsageError):
        found = combine(read_annotations(annotations))

        assert combine(parse_file(write_file(found))).config == found.config


FLAGS = [f"--{knob.flag}" for knob in KNOBS if knob.flag] + [
    f"-{knob.short}" for knob in KNOBS if knob.short
]


@settings(deadline=None)
@given(words=st.lists(st.sampled_from(FLAGS) | texts, max_size=8))
def test_any_flags_are_read_or_refused(words: list[str]) -> None:
    with suppress(UsageError):
        combine(read_flags(words))
