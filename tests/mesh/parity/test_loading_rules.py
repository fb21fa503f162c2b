"""The tools take the rules of any configuration, in a namespace of their own."""

import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings

from beewire.mesh.config import ALL, PodConfig
from beewire.mesh.parity import nft_input, restore_inputs
from tests.mesh.config.strategies import configs

# A namespace without a name, which goes with the process.
ALONE = ("unshare", "--net")
RESTORE = {4: "iptables-legacy-restore", 6: "ip6tables-legacy-restore"}


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    for tool in ("nft", *RESTORE.values()):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces take root")


def load(text: str, *command: str) -> str:
    """What a tool says when it loads `text`; "" if it takes it."""
    done = subprocess.run(
        [*ALONE, *command], input=text, text=True, capture_output=True, check=False
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
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # one look suffices
)
@given(config=configs)
def test_iptables_takes_the_rules_of_any_configuration(config: PodConfig) -> None:
    tables = restore_inputs(with_numbers(config))

    assert [load(each.text, RESTORE[each.family]) for each in tables] == [""] * len(
        tables
    )


@pytest.mark.kernel
@pytest.mark.host
@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(config=configs)
def test_nft_takes_the_rules_of_any_configuration(config: PodConfig) -> None:
    assert load(nft_input(with_numbers(config)), "nft", "-f", "-") == ""
