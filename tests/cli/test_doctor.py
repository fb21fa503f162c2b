"""`beewire doctor`."""

import json
import subprocess
from collections.abc import Callable

import pytest

from beewire.bpf.kernel.features import Answer, Feature
from beewire.cli.checks import Finding, State, checks
from beewire.cli.doctor import GROUPS, as_json, as_text, obstacles
from beewire.cli.probes import finding

Run = Callable[..., subprocess.CompletedProcess[str]]

GOOD = Finding("kernel", "JIT", State.GOOD, "on")
BARE = Finding("kernel", "bpf_link", State.GOOD, "")
LIMITED = Finding("kernel", "bpffs", State.LIMITED, "not mounted", "mount it")
IN_THE_WAY = Finding("lab", "nginx", State.BAD, "not found", "install it", demo=True)
BAD = Finding("kernel", "BTF", State.BAD, "no types", "another kernel")


def test_the_demo_can_run_unless_what_it_needs_is_missing() -> None:
    assert obstacles([GOOD, BARE, LIMITED, BAD]) == []
    assert obstacles([GOOD, IN_THE_WAY]) == [IN_THE_WAY]


def test_what_is_missing_is_told_with_what_to_change() -> None:
    told = as_text([GOOD, BARE, LIMITED, IN_THE_WAY], colour=False)

    assert "  limited   bpffs: not mounted" in told
    assert "            mount it" in told
    assert told[-1] == "The demo cannot run here: nginx."


def test_what_is_there_and_needs_no_word_shares_a_line() -> None:
    told = as_text([BARE, BARE._replace(name="perf link")], colour=False)

    assert "  yes       bpf_link, perf link" in told


def test_what_is_missing_for_one_reason_shares_it() -> None:
    tcp = Finding("map type", "SOCKMAP", State.BAD, "no capability")

    told = as_text([tcp, tcp._replace(name="SOCKHASH")], colour=False)

    assert "  no        SOCKMAP, SOCKHASH: no capability" in told


def test_what_this_process_may_not_ask_is_no_lack_of_the_kernel() -> None:
    unknown = Feature(
        "map type HASH", "3.19", Answer.UNKNOWN, "missing CAP_BPF", "map type"
    )

    found = finding(unknown, demo=True)

    assert found == Finding("map type", "HASH", State.UNKNOWN, "missing CAP_BPF")


def test_colour_is_used_only_where_it_is_wanted() -> None:
    plain = "\n".join(as_text([BAD], colour=False))

    assert "\x1b" not in plain
    assert "\x1b" in "\n".join(as_text([BAD], colour=True))


def test_json_has_every_fact_of_every_finding() -> None:
    told = as_json([IN_THE_WAY])

    assert told["demo"] == {"can_run": False, "obstacles": ["nginx"]}
    assert told["findings"] == [
        {
            "group": "lab",
            "name": "nginx",
            "state": "no",
            "detail": "not found",
            "fix": "install it",
            "needed_for_demo": True,
        }
    ]


@pytest.mark.parametrize("number", range(len(checks())))
def test_every_check_answers_on_this_machine(number: int) -> None:
    found = checks()[number]()

    assert found.name
    assert found.state is not State.BAD or found.detail


def test_every_finding_that_is_bad_says_why(beewire: Run) -> None:
    told = json.loads(beewire("doctor", "--json").stdout)

    bad = [found for found in told["findings"] if found["state"] == "no"]
    assert [found["name"] for found in bad if not found["detail"]] == []


def test_the_exit_code_says_whether_the_demo_can_run(beewire: Run) -> None:
    told = beewire("doctor", "--json")

    assert told.stderr == ""
    assert told.returncode == (0 if json.loads(told.stdout)["demo"]["can_run"] else 1)


def test_every_group_of_features_is_reported(beewire: Run) -> None:
    told = json.loads(beewire("doctor", "--json").stdout)

    assert {found["group"] for found in told["findings"]} == set(GROUPS)


@pytest.mark.kernel
def test_json_has_every_feature_and_what_goes_together(beewire: Run) -> None:
    told = json.loads(beewire("doctor", "--json").stdout)

    groups = {each["group"] for each in told["features"]}
    assert {
        *("instruction set", "btf", "program type", "map type", "map flag"),
        *("attach type", "kfunc", "token", "mount"),
    } <= groups
    assert {each["answer"] for each in told["features"]} <= {"yes", "no", "unknown"}
    assert [
        e["name"] for e in told["features"] if e["answer"] != "yes" and not e["reason"]
    ] == []
    assert "xdp_adjust_head" in told["helpers"]["XDP"]
    assert "xdp_adjust_head" not in told["helpers"]["SCHED_CLS"]
    assert "NO_PREALLOC" in told["map_flags"]["HASH"]
    assert told["kfuncs"].keys() == told["helpers"].keys()


@pytest.mark.kernel
def test_calls_of_one_type_of_program_are_told(beewire: Run) -> None:
    done = beewire("doctor", "--calls", "xdp")

    assert done.returncode == 0
    assert " helpers that XDP programs may call" in done.stdout
    assert "xdp_adjust_head" in done.stdout


def test_a_type_of_program_that_does_not_exist_is_refused(beewire: Run) -> None:
    done = beewire("doctor", "--calls", "nonsense")

    assert done.returncode == 2
    assert "there is no program type 'nonsense': socket_filter, kprobe" in done.stderr
