"""The tools take the rules of any configuration, in a namespace of their own."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from beewire.mesh.config import ALL, PodConfig
from beewire.mesh.parity import RestoreInput, nft_input, restore_inputs
from tests.mesh.config.strategies import configs

NAMESPACE = "bw-loading-rules"
LOADED = {4: "iptables-legacy-restore", 6: "ip6tables-legacy-restore"}


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")
    made = subprocess.run(
        ["ip", "netns", "add", NAMESPACE], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("network namespaces take root")
    yield NAMESPACE
    subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


def load(namespace: str, text: str) -> str:
    """What nft says when it loads `text`; "" if it takes it."""
    command = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    done = subprocess.run(
        command, input=text, text=True, capture_output=True, check=False
    )
    return done.stderr


def restore(namespace: str, table: RestoreInput) -> str:
    """What iptables says when it loads one table; "" if it takes it."""
    command = ["ip", "netns", "exec", namespace, LOADED[table.family]]
    done = subprocess.run(
        command, input=table.text, text=True, capture_output=True, check=False
    )
    return done.stderr


def with_numbers(config: PodConfig) -> PodConfig:
    """`config` with numbers for its groups: this machine has none of these names."""
    groups = {*config.owner_groups_exclude}
    if config.owner_groups_include is not ALL:
        groups |= {*config.owner_groups_include}
    names = sorted(group for group in groups if not group.isdigit())
    numbers = tuple((name, 1000 + number) for number, name in enumerate(names))
    return replace(config, owner_group_ids=numbers)


@pytest.mark.kernel
@pytest.mark.host
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(config=configs)
def test_iptables_takes_the_rules_of_any_configuration(
    namespace: str, config: PodConfig
) -> None:
    if not shutil.which(LOADED[6]):
        pytest.skip("iptables-legacy is not installed")

    told = [restore(namespace, each) for each in restore_inputs(with_numbers(config))]

    assert "".join(told) == ""


@pytest.mark.kernel
@pytest.mark.host
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(config=configs)
def test_nft_takes_the_rules_of_any_configuration(
    namespace: str, config: PodConfig
) -> None:
    text = nft_input(with_numbers(config))

    assert load(namespace, "flush ruleset\n" + text) == ""
