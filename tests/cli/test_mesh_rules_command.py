"""`beewire mesh rules` and `beewire mesh check`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
PORTS = "traffic.sidecar.istio.io/includeInboundPorts"


def test_rules_of_every_form_stand_under_what_takes_them(beewire: Run) -> None:
    told = beewire(
        "mesh", "rules", "--annotation", f"{PORTS}=80", "--address", "fd00::1"
    )

    assert told.returncode == 0
    headings = [line for line in told.stdout.splitlines() if line.startswith("# ")]
    assert headings == [
        "# iptables-restore --noflush",
        "# ip6tables-restore --noflush",
        "# nft -f -",
        "# sh",
    ]


def test_one_form_is_only_its_text(beewire: Run) -> None:
    told = beewire(
        "mesh", "rules", "--annotation", f"{PORTS}=80", "--format", "iptables"
    )

    assert told.stdout.startswith("* nat\n-N ISTIO_INBOUND\n")
    assert told.stderr == ""


def test_why_there_are_no_rules_is_told(beewire: Run) -> None:
    told = beewire("mesh", "rules", "--istio-flags=-b 80", "--format", "ip6tables")

    assert (told.returncode, told.stdout) == (0, "")
    assert "no IPv6 rules" in told.stderr


def test_rules_as_json_have_origins(beewire: Run) -> None:
    told = beewire("mesh", "rules", "--annotation", f"{PORTS}=80", "--json")

    printed = json.loads(told.stdout)
    assert printed["origins"]["inbound_ports_include"] == f'annotation {PORTS}: "80"'
    assert printed["rules"]["nft"].startswith("add table inet")


def test_v_tells_where_each_setting_is_from(beewire: Run) -> None:
    told = beewire("mesh", "rules", "-v", "--istio-flags=-b 80", "--format", "iptables")

    assert "inbound_ports_include from flag -b 80" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "how is the pod configured?"),
        (["--annotation", PORTS], "write it as NAME=VALUE"),
        (["--annotation", f"{PORTS}=70000"], f"{PORTS}: '70000' is not a port"),
        (["--pod-name", "web"], "--pod-name goes with --pod"),
        (["--address", "here", "--istio-flags=-n"], "--address here: is no IP address"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
        (["--istio-env", "DROP_INVALID=no"], "DROP_INVALID: 'no' is neither"),
    ],
)
def test_a_wrong_configuration_is_a_usage_error(
    beewire: Run, arguments: list[str], told: str
) -> None:
    done = beewire("mesh", "rules", *arguments)

    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""


def test_check_tells_every_setting_with_its_origin(beewire: Run) -> None:
    told = beewire("mesh", "check", "--annotation", f"{PORTS}=80")

    assert told.returncode == 0
    [line] = [each for each in told.stdout.splitlines() if "inbound.ports" in each]
    assert line.split(maxsplit=2) == [
        "inbound.ports",
        "80",
        f'annotation {PORTS}: "80"',
    ]


def test_check_tells_every_fault_and_fails(beewire: Run, tmp_path: Path) -> None:
    pod = tmp_path / "pod.yaml"
    pod.write_text(
        "kind: Pod\nmetadata:\n  name: web\n  annotations:\n"
        f'    {PORTS}: "x"\n    istio.io/reroute-virtual-interfaces: eth1\n'
        "spec: {hostNetwork: true}\n"
    )

    told = beewire("mesh", "check", "--pod", str(pod), "--json")

    assert told.returncode == 1
    printed = json.loads(told.stdout)
    assert not printed["ok"]
    errors = [each for each in printed["findings"] if each["level"] == "error"]
    assert [each["name"] for each in errors] == [
        PORTS,
        "istio.io/reroute-virtual-interfaces",
        "spec.hostNetwork",
    ]
    assert errors[0]["place"] == f"{pod}:5"


def test_check_is_not_told_whom(beewire: Run) -> None:
    assert beewire("mesh", "check").returncode == 2


def test_settings_that_contradict_each_other_are_printed_and_noted(
    beewire: Run,
) -> None:
    told = beewire(
        "mesh",
        "rules",
        "--istio-flags=-i 10.0.0.0/8 -x 10.0.0.0/8",
        "--format=iptables",
    )

    assert told.returncode == 0
    assert "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j RETURN" in told.stdout
    assert "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT" in told.stdout
    assert "note: -i: 10.0.0.0/8 is included here and lies in" in told.stderr


def test_what_cannot_be_read_is_refused(beewire: Run) -> None:
    told = beewire("mesh", "rules", "--istio-flags=-i 10.0.0.0/8 -x 10.0.0.0/99")

    assert (told.returncode, told.stdout) == (2, "")
    assert "-x" in told.stderr
