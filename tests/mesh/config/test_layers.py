"""Several sources become one configuration."""

from pathlib import Path

import pytest
from hypothesis import given, settings

from beewire.errors import UsageError
from beewire.mesh.config import (
    ALL,
    KNOBS,
    IPNetwork,
    Level,
    PodConfig,
    combine,
    examine,
    parse_file,
    python,
    read_annotations,
    read_environment,
    read_flags,
    read_groups,
    read_resolv_conf,
    refusals,
)
from beewire.mesh.config.faults import covered
from tests.mesh.config.strategies import range_lists

EXCLUDE = "traffic.sidecar.istio.io/excludeOutboundPorts"


def test_the_later_layer_wins_setting_by_setting() -> None:
    found = combine(
        read_annotations({EXCLUDE: "1", "sidecar.istio.io/interceptionMode": "TPROXY"}),
        parse_file("outbound: {exclude_ports: [2]}\n"),
        read_flags("-o 3"),
        python(outbound_ports_exclude=(4,)),
    )

    assert found.config.outbound_ports_exclude == (4,)
    assert found.config.inbound_interception_mode.value == "TPROXY"
    assert str(found.origin("outbound_ports_exclude")).startswith("Python")


def test_the_first_source_decides_the_defaults() -> None:
    pod_first = combine(read_annotations({}), read_flags("-p 1"))
    flags_first = combine(read_flags("-p 1"), python(proxy_port=2))

    assert pod_first.config.inbound_ports_include is ALL
    assert flags_first.config.inbound_ports_include == ()


def test_flags_name_all_excluded_inbound_ports() -> None:
    found = combine(read_annotations({}), read_flags("-d 80"))

    assert found.config.inbound_ports_exclude == (80,)


def test_a_default_has_an_origin_too() -> None:
    found = combine(read_annotations({}))

    assert "default of a pod without" in str(found.origin("inbound_ports_include"))
    assert str(found.origin("proxy_port")) == "the default of proxy.outbound_port"
    assert "a sidecar's own port" in str(found.origin("inbound_ports_exclude", 15090))


@pytest.mark.parametrize("field", [*PodConfig.__dataclass_fields__])
def test_every_field_has_an_origin(field: str) -> None:
    if field != "dry_run":
        assert str(combine().origin(field))


def test_examine_tells_faults_without_raising() -> None:
    found = examine(
        read_annotations({EXCLUDE: "x", "sidecar.istio.io/interceptionMode": "y"})
    )

    assert [finding.level for finding in found.findings] == [Level.ERROR] * 2
    assert found.config.inbound_ports_include is ALL


def test_python_names_only_knobs() -> None:
    with pytest.raises(UsageError, match="'prot' is no knob"):
        python(prot=1)


@settings(deadline=None)
@given(narrow=range_lists, wide=range_lists)
def test_every_range_that_another_covers_is_found(
    narrow: tuple[IPNetwork, ...], wide: tuple[IPNetwork, ...]
) -> None:
    wide += tuple(each.supernet() for each in narrow[:1])

    found = {network for network, _ in covered(narrow, wide)}

    assert found == {
        one
        for one in narrow
        for other in wide
        if one.version == other.version
        and one.network_address in other
        and one.broadcast_address in other
    }


def test_long_lists_are_compared_too() -> None:
    ranges = ",".join(
        f"10.{number >> 8}.{number & 255}.0/24" for number in range(20_000)
    )
    name = "traffic.sidecar.istio.io/{}OutboundIPRanges"

    found = combine(
        read_annotations(
            {name.format("include"): ranges, name.format("exclude"): "11.0.0.0/8"}
        )
    )

    include = found.config.outbound_ip_ranges_include
    assert include is not ALL
    assert len(include) == 20_000


def test_resolvers_are_read_as_the_resolver_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# comment\nsearch svc\nnameserver 10.96.0.10\nnameserver fd00::53\n"
        "nameserver fe80::1%eth0\nnameserver nowhere\noptions ndots:5\n"
    )

    found = combine(read_flags("--redirect-dns"), read_resolv_conf(path))

    assert [str(each) for each in found.config.dns_servers_v4] == ["10.96.0.10"]
    assert [str(each) for each in found.config.dns_servers_v6] == ["fd00::53"]
    assert len(found.findings) == 2
    assert str(found.origin("dns_servers_v6")).endswith(f"({path})")


def test_a_missing_resolv_conf_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_resolv_conf(tmp_path / "resolv.conf")


def test_groups_get_their_numbers() -> None:
    config = combine(read_groups(["java=1001", "ftp=21"])).config

    assert config.gid("java") == 1001
    assert config.gid("202") == 202
    with pytest.raises(UsageError, match="owner group 'c' has no number"):
        config.gid("c")


def test_a_group_without_a_number_is_refused_with_its_origin() -> None:
    groups = {"ISTIO_OUTBOUND_OWNER_GROUPS": "java,202"}
    unknown = combine(read_environment(groups))
    known = combine(read_environment(groups), read_groups(["java=1001"]))

    [refusal] = refusals(unknown.settings)

    assert str(refusal).startswith("ISTIO_OUTBOUND_OWNER_GROUPS: group 'java' has no")
    assert "--group java=GID" in str(refusal)
    assert refusals(known.settings) == ()


def test_no_name_is_used_twice() -> None:
    flags = [knob.flag for knob in KNOBS if knob.flag]
    shorts = [knob.short for knob in KNOBS if knob.short]
    variables = [name for knob in KNOBS for name in knob.variables]
    annotations = [name for knob in KNOBS for name in knob.annotations]
    paths = [knob.path for knob in KNOBS]

    for names in (flags, shorts, variables, annotations, paths):
        assert len(names) == len(set(names))
