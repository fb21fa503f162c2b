"""The command line and the environment of istio-iptables."""

import pytest
from hypothesis import given, settings

from beewire.errors import UsageError
from beewire.mesh.config import (
    ALL,
    KNOBS,
    TOOL_FLAGS,
    PodConfig,
    combine,
    read_environment,
    read_flags,
)
from tests.mesh.config.strategies import configs

BY_FLAG = [knob for knob in KNOBS if knob.flag]


def read(arguments: str | list[str], **environment: str) -> PodConfig:
    return combine(read_flags(arguments, environment)).config


def test_without_flags_nothing_is_captured() -> None:
    assert read("") == PodConfig()


def test_the_injectors_own_call_is_read() -> None:
    config = read(
        "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x ''"
        " -b * -d 15090,15021,15020 --log_output_level=default:info"
    )

    assert config.inbound_ports_include is ALL
    assert config.outbound_ip_ranges_include is ALL
    assert config.inbound_ports_exclude == (15090, 15021, 15020)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "15002"],
        ["-p15002"],
        ["-p=15002"],
        ["--envoy-port", "15002"],
        ["--envoy-port=15002"],
        ["-nfp15002"],
    ],
)
def test_a_flag_is_spelled_in_every_way_of_its_library(arguments: list[str]) -> None:
    assert read(arguments).proxy_port == 15002


def test_the_last_of_two_wins() -> None:
    assert read("-p 1 --envoy-port=2").proxy_port == 2


def test_a_switch_needs_no_value() -> None:
    assert read("--redirect-dns --capture-all-dns=true").redirect_dns
    assert not read("--redirect-dns=false").redirect_dns


def test_a_switch_takes_no_word_after_it() -> None:
    with pytest.raises(UsageError, match=r"'false' is no flag.*--redirect-dns=false"):
        read("--redirect-dns false")


def test_users_are_taken_for_groups_where_none_are_named() -> None:
    assert read("-u 3,4").proxy_gid == (3, 4)
    assert read("-u 3,4 -g 5").proxy_gid == (5,)


def test_a_flag_wins_over_a_variable() -> None:
    config = read("-b 80", ISTIO_INBOUND_PORTS="443", ISTIO_SERVICE_CIDR="*")

    assert config.inbound_ports_include == (80,)
    assert config.outbound_ip_ranges_include is ALL


def test_of_two_variables_the_one_of_other_components_wins() -> None:
    assert not read(
        "", REDIRECT_DNS="true", ISTIO_META_DNS_CAPTURE="false"
    ).redirect_dns
    assert read("", INVALID_DROP="true").drop_invalid
    assert read("", ISTIO_DUAL_STACK="1", DUAL_STACK="0").dual_stack


def test_owner_groups_and_loopback_are_variables_only() -> None:
    config = combine(
        read_environment(
            {
                "ISTIO_OUTBOUND_OWNER_GROUPS": "java,202",
                "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.1/8",
                "HOME": "/root",
            }
        )
    ).config

    assert config.owner_groups_include == ("java", "202")
    assert str(config.host_ipv4_loopback_cidr) == "127.0.0.0/8"


def test_an_empty_list_of_groups_captures_none() -> None:
    assert read("", ISTIO_OUTBOUND_OWNER_GROUPS="").owner_groups_include == ()


def test_a_variable_that_is_read_no_more_is_noted() -> None:
    [note] = combine(read_environment({"ENVOY_PORT": "15009"})).findings

    assert str(note) == "ENVOY_PORT: is not read by istio-iptables; use -p"


def test_a_user_by_name_needs_a_number() -> None:
    with pytest.raises(UsageError, match="ENVOY_USER: names a user whose number"):
        read("", ENVOY_USER="envoy")

    assert read("-u 101", ENVOY_USER="envoy").proxy_uid == (101,)
    assert read("", ENVOY_USER="istio-proxy").proxy_uid == (1337,)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("-p 70000", "-p: '70000' is not a port"),
        ("-p", "-p: needs a value"),
        (
            "--envoy-prt 1",
            "--envoy-prt: istio-iptables knows no such flag; .*envoy-port",
        ),
        ("-y", "-y: istio-iptables knows no such flag"),
        ("-m NONE", "-m: .*would take NONE for REDIRECT"),
        ("-u istio-proxy", "-u: 'istio-proxy' is a name"),
        ("-b '80", "istio-iptables: is no command line"),
        ("15001", "'15001' is no flag"),
        ("-x '*'", "-x: '\\*' would exclude every address"),
        ("-q 80 -o 80", "-q: port 80 is included here and excluded by flag -o 80"),
    ],
)
def test_a_fault_is_told_with_the_flags_name(arguments: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read(arguments)


def test_a_fault_in_a_variable_is_told_with_its_name() -> None:
    with pytest.raises(UsageError, match="INVALID_DROP: 'maybe' is neither"):
        read("", INVALID_DROP="maybe")


@pytest.mark.parametrize("tool", TOOL_FLAGS, ids=lambda tool: tool.flag)
def test_flags_that_steer_the_tool_are_noted(tool: object) -> None:
    takes = tool.takes_value  # type: ignore[attr-defined]  # a ToolFlag
    words = [f"--{tool.flag}", *(["5"] if takes else [])]  # type: ignore[attr-defined]

    [note] = combine(read_flags(words)).findings

    assert "steers istio-iptables itself" in str(note)


def test_capture_without_a_resolver_is_noted() -> None:
    [note] = combine(read_flags("--redirect-dns")).findings

    assert "captures nothing while no resolver is known" in str(note)


def test_more_groups_than_istio_takes_are_noted() -> None:
    groups = ",".join(str(group) for group in range(65))

    [note] = combine(read_environment({"ISTIO_OUTBOUND_OWNER_GROUPS": groups})).findings

    assert "Istio refuses more than 64" in str(note)


@settings(deadline=None)
@given(config=configs)
def test_a_configuration_reads_back_from_its_flags(config: PodConfig) -> None:
    words = [
        f"--{knob.flag}={knob.kind.write(getattr(config, knob.name))}"
        for knob in BY_FLAG
    ]
    layer = read_flags(words)

    read_back = {name: setting.value for name, setting in layer.settings.items()}

    # An empty list of users is "not said"; 127.x is read by its written address.
    expected = {
        knob.name: getattr(config, knob.name)
        for knob in BY_FLAG
        if knob.name in read_back and getattr(config, knob.name) != ()
    }
    assert {name: read_back[name] for name in expected if name != "proxy_gid"} == {
        name: value for name, value in expected.items() if name != "proxy_gid"
    }
