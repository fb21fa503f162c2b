"""Who says how far connections are shortened, and what it has no influence on."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.errors import UsageError
from beewire.mesh.config import (
    Bypass,
    Collector,
    Origin,
    PodConfig,
    Source,
    combine,
    examine,
    parse_file,
    python,
    read_annotations,
    read_pod,
    write_file,
    write_settings,
)
from beewire.mesh.config.knobs import KNOB
from beewire.mesh.enrol.encode import encode
from beewire.mesh.parity import restore_inputs
from tests.mesh.config.strategies import configs
from tests.mesh.config.test_manifest import INJECTED


def test_annotations_say_it() -> None:
    config = combine(
        read_annotations({"beewire.io/bypass": "all", "beewire.io/splice": "true"})
    ).config

    assert (config.bypass, config.shortcut, config.splice) == (Bypass.ALL, False, True)


def test_without_a_word_nothing_is_said() -> None:
    assert combine(read_annotations({})).config.bypass is None


def test_a_beewire_file_says_it() -> None:
    config = combine(parse_file("bypass: {tier: off, shortcut: true}\n")).config

    assert (config.bypass, config.shortcut) == (Bypass.OFF, True)


def test_python_says_it() -> None:
    assert combine(python(bypass=Bypass.AUTO)).config.bypass is Bypass.AUTO


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("bypass", "on", "'on' is no tier of the bypass; write off, sidecars, all or"),
        ("bypass", "ALL", "'ALL' is no tier of the bypass; write all"),
        ("bypass", "", "'' is no tier of the bypass; write off, sidecars, all or auto"),
        ("shortcut", "yes", "'yes' is neither true nor false; write true or false"),
        ("bypas", "off", "Beewire knows no such annotation; write beewire.io/bypass"),
        ("zzz", "off", "there are bypass, shortcut, splice"),
    ],
)
def test_what_is_wrong_is_told(name: str, text: str, told: str) -> None:
    [finding] = examine(read_annotations({f"beewire.io/{name}": text})).findings

    assert told in str(finding)
    assert str(finding).startswith(f"beewire.io/{name}: ")


def test_an_injected_pod_may_say_it_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    said = '  annotations:\n    beewire.io/bypass: "off"\n'
    path.write_text(INJECTED.replace("  annotations:\n", said))

    found = combine(read_pod(path).layer)

    assert found.config.bypass is Bypass.OFF
    assert not [each for each in found.findings if "beewire.io" in each.origin.name]


def test_off_without_quotes_is_no_annotation(tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    said = "  annotations:\n    beewire.io/bypass: off\n"
    path.write_text(INJECTED.replace("  annotations:\n", said))

    with pytest.raises(UsageError, match='write it in quotes: "off"'):
        combine(read_pod(path).layer)


def test_a_file_of_a_few_settings_has_no_others() -> None:
    found = Collector()
    found.read(KNOB["bypass"], Origin(Source.FLAG, "--bypass", "all"))

    layer = parse_file(write_settings(found.layer()))

    assert {name: each.value for name, each in layer.settings.items()} == {
        "bypass": Bypass.ALL
    }
    assert str(layer.settings["bypass"].origin) == "flag --bypass all"


@pytest.mark.parametrize("tier", [None, *Bypass])
@pytest.mark.parametrize("switch", [True, False])
def test_a_file_reads_back(tier: Bypass | None, switch: bool) -> None:
    config = PodConfig(bypass=tier, shortcut=switch, splice=not switch)

    assert combine(parse_file(write_file(config))).config == config


@given(
    config=configs,
    tier=st.none() | st.sampled_from(Bypass),
    shortcut=st.booleans(),
    splice=st.booleans(),
)
def test_neither_rules_nor_decisions_depend_on_it(
    config: PodConfig, tier: Bypass | None, shortcut: bool, splice: bool
) -> None:
    other = replace(
        config,
        bypass=tier,
        shortcut=shortcut,
        splice=splice,
        owner_groups_include=(),
        owner_groups_exclude=(),
    )
    one = replace(other, bypass=None, shortcut=False, splice=False)

    assert restore_inputs(one) == restore_inputs(other)
    assert encode(one) == encode(other)
