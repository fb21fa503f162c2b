"""Policies: which programs may be loaded, by whom, and the lines that tell of it."""

import base64
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import isa
from beewire.bpf.kernel import load, names, policy
from beewire.bpf.kernel.policy import Loader, parse_policy, read_policy
from beewire.bpf.object import (
    MapKind,
    MapSpec,
    ObjectSpec,
    ProgramKind,
    ProgramSpec,
    Relocation,
    RelocationKind,
    read,
    write,
)
from beewire.errors import PolicyError
from tests.systems import Absent, using

SWITCH = "sched/sched_switch"
KTIME_GET_NS, PROBE_WRITE_USER = 5, 36
ROOT = Loader(0, "root", None, 1, "test")
GAMES = Loader(5, "games", None, 1, "test")

pytestmark = pytest.mark.host


def program(
    name: str = "p", *helpers: int, kind: ProgramKind = ProgramKind.TRACEPOINT
) -> ProgramSpec:
    """A program that calls these helpers."""
    calls = [isa.call_helper(number) for number in helpers]
    return ProgramSpec(
        name,
        kind=kind,
        section="xdp" if kind is ProgramKind.XDP else f"tracepoint/{SWITCH}",
        attach_to="" if kind is ProgramKind.XDP else SWITCH,
        insns=(*calls, isa.mov_imm(0, 0), isa.exit_insn()),
    )


def object_of(*programs: ProgramSpec) -> ObjectSpec:
    """An object of these programs."""
    spec = ObjectSpec("test")
    spec.programs = {each.name: each for each in programs}
    return spec


def said(text: str, spec: ObjectSpec, who: Loader = ROOT) -> policy.Verdict:
    """What a policy says of an object."""
    return policy.decide(parse_policy(text, "p.toml"), policy.facts_of(spec), who)


def rule(decision: str, **conditions: object) -> str:
    """One rule of a policy."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in conditions.items()]
    return "\n".join(["[[rule]]", f'decision = "{decision}"', *lines, ""])


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", False),
        ('default = "allow"', True),
        (rule("allow"), True),
        (rule("deny") + rule("allow"), False),
        (rule("allow", users=["root"]), True),
        (rule("allow", users=[0]), True),
        (rule("allow", users=["games"]), False),
        (rule("allow", types=["tracepoint", "XDP"]), True),
        (rule("allow", types=["xdp"]), False),
        (rule("allow", attach=["tracepoint/sched/*"]), True),
        (rule("allow", attach=["tracepoint/irq/*"]), False),
        (rule("allow", helpers=["ktime_*"]), True),
        (rule("allow", helpers=["bpf_ktime_get_ns"]), True),
        (rule("allow", helpers=["get_current_*"]), False),
        (rule("deny", helpers=["ktime_*"]) + rule("allow"), False),
        (rule("deny", helpers=["probe_write_user"]) + rule("allow"), True),
        (rule("allow", types=["tracepoint"], attach=["xdp"]), False),
        (rule("allow", digests=["sha256:" + "0" * 64]), False),
    ],
)
def test_the_first_rule_that_holds_decides(text: str, allowed: bool) -> None:
    verdict = said(text, object_of(program("p", KTIME_GET_NS)))

    assert verdict.allowed is allowed


def test_an_object_is_allowed_if_all_of_its_programs_are() -> None:
    spec = object_of(program("a"), program("b", PROBE_WRITE_USER))

    verdict = said(rule("deny", helpers=["probe_write_user"]) + rule("allow"), spec)

    assert [each.allowed for each in verdict.decisions] == [True, False]
    assert not verdict.allowed


def test_what_a_called_function_uses_counts() -> None:
    spec = object_of(program("p"), program("inner", PROBE_WRITE_USER))
    spec.programs["inner"].section = ".text"
    spec.programs["inner"].kind = ProgramKind.UNSPEC
    outer = spec.programs["p"]
    outer.insns = (isa.call_subprogram(-1), isa.exit_insn())
    outer.relocations = (Relocation(0, RelocationKind.SUBPROGRAM, "inner"),)

    (facts,) = policy.facts_of(spec).programs

    assert facts.helpers == ("probe_write_user",)


def test_kernel_functions_count_as_helpers() -> None:
    spec = object_of(program("p"))
    spec.programs["p"].insns = (isa.call_kfunc(-1), isa.exit_insn())
    spec.programs["p"].relocations = (
        Relocation(0, RelocationKind.KFUNC, "bpf_sock_destroy"),
    )

    verdict = said(rule("deny", helpers=["bpf_sock_destroy"]) + rule("allow"), spec)

    assert not verdict.allowed


def test_types_of_maps_are_asked_for() -> None:
    spec = object_of(program("p"))
    spec.maps["m"] = MapSpec(
        "m", kind=MapKind.HASH, key_size=4, value_size=4, max_entries=1
    )
    spec.programs["p"].insns = (
        isa.ld_imm64(1, 0),
        isa.mov_imm(0, 0),
        isa.exit_insn(),
    )
    spec.programs["p"].relocations = (Relocation(0, RelocationKind.MAP, "m"),)

    assert said(rule("allow", maps=["hash"]), spec).allowed
    assert not said(rule("allow", maps=["array"]), spec).allowed


def test_a_digest_is_that_of_the_file() -> None:
    content = write(object_of(program("p")))
    spec = read(content)
    text = rule("allow", digests=[policy.facts_of(spec).digest])

    assert policy.facts_of(spec).content == content
    assert said(text, spec).allowed
    assert said(text, object_of(program("p"))).allowed  # compiled here: the same bytes


def test_an_object_that_was_changed_has_another_digest() -> None:
    spec = read(write(object_of(program("p"))))
    before = policy.facts_of(spec).digest

    spec.programs["p"].insns = (isa.mov_imm(0, 1), isa.exit_insn())

    assert policy.facts_of(spec).digest != before


def test_what_is_refused_says_what_each_rule_lacks() -> None:
    text = rule("allow", name="net", types=["xdp"]) + rule("allow", users=["games"])

    (decision,) = said(text, object_of(program("p"))).decisions

    assert decision.rule == 'default = "deny"'
    assert decision.near == (
        "'net' does not hold: type tracepoint is not among its types",
        "'rule 2' does not hold: user root is not among its users",
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[rule]", "is no TOML"),
        ("rule = 1", r"write \[\[rule\]\]"),
        (rule("maybe"), '"allow" or "deny", not \'maybe\''),
        ("[[rule]]\n", 'decision is "allow" or "deny"'),
        (rule("allow", user=["root"]), "rule 1: there is no 'user' in a policy"),
        (rule("allow", users=[]), "users is a list of names"),
        (rule("allow", users=[[]]), "users is a list of names"),
        (rule("allow", types=["tracer"]), "'tracer' is no type of program"),
        (rule("allow", maps=["table"]), "'table' is no type of map"),
        (rule("allow", digests=["abc"]), "is no digest"),
        (rule("allow", signed_by=["us"]), "names a key 'us'"),
        ('audit = "log"', "an absolute path"),
        ("defualt = 1", "there is no 'defualt' in a policy"),
        ("keys = 1", "keys is a table of texts"),
    ],
)
def test_a_policy_with_a_fault_is_refused_with_a_sentence(
    text: str, fault: str
) -> None:
    with pytest.raises(PolicyError, match=fault) as caught:
        parse_policy(text, "p.toml")

    assert str(caught.value).startswith("the policy p.toml")
    assert "\n" not in str(caught.value)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine's policy would be."""
    tmp_path.chmod(0o755)
    path = tmp_path / "policy.toml"
    monkeypatch.setattr(names, "POLICY", str(path))
    monkeypatch.delenv("BEEWIRE_POLICY", raising=False)
    return path


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to own a policy")


@needs_root
@pytest.mark.parametrize(
    ("mode", "owner", "fault"),
    [
        (0o666, 0, "others may write"),
        (0o620, 0, "others may write"),
        (0o644, 1234, "belongs to user 1234"),
    ],
)
def test_a_policy_that_others_may_write_is_not_believed(
    place: Path, mode: int, owner: int, fault: str
) -> None:
    place.write_text('default = "allow"')
    place.chmod(mode)
    os.chown(place, owner, owner)

    with pytest.raises(PolicyError, match=fault):
        read_policy(str(place))


@needs_root
def test_a_policy_in_a_directory_of_others_is_not_believed(place: Path) -> None:
    place.write_text('default = "allow"')
    place.parent.chmod(0o777)

    with pytest.raises(PolicyError, match="others may write"):
        read_policy(str(place))


def test_a_link_is_no_policy(place: Path) -> None:
    place.symlink_to("/dev/null")

    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(str(place))


@pytest.fixture
def absent() -> Iterator[Absent]:
    system = Absent()
    with using(system):
        yield system


def test_without_a_policy_everything_is_loaded(absent: Absent, place: Path) -> None:
    load(object_of(program("p"))).close()

    assert absent.calls
    assert not place.exists()


@needs_root
def test_what_is_refused_never_reaches_the_kernel(absent: Absent, place: Path) -> None:
    place.write_text('audit = "none"')

    with pytest.raises(PolicyError, match="does not let root load program 'p'"):
        load(object_of(program("p")))

    assert absent.calls == []


@needs_root
def test_a_broken_policy_lets_nothing_through(absent: Absent, place: Path) -> None:
    place.write_text('default = "allow')

    with pytest.raises(PolicyError, match="is no TOML"):
        load(object_of(program("p")))

    assert absent.calls == []


@needs_root
@pytest.mark.parametrize(("first", "second"), [("deny", "allow"), ("allow", "deny")])
def test_a_second_policy_can_only_forbid_more(
    absent: Absent,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
) -> None:
    more = place.with_name("more.toml")
    place.write_text(f'audit = "none"\ndefault = "{first}"')
    more.write_text(f'audit = "none"\ndefault = "{second}"')
    monkeypatch.setenv("BEEWIRE_POLICY", str(more))

    with pytest.raises(PolicyError):
        load(object_of(program("p")))

    assert absent.calls == []


def test_a_second_policy_that_is_missing_lets_nothing_through(
    absent: Absent, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEEWIRE_POLICY", str(place.with_name("none.toml")))

    with pytest.raises(PolicyError, match="cannot be read"):
        load(object_of(program("p")))

    assert absent.calls == []


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of an audit."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@needs_root
@pytest.mark.usefixtures("absent")
def test_each_load_leaves_a_line(place: Path) -> None:
    log = place.with_name("loads.jsonl")
    place.write_text(f'audit = "{log}"\n' + rule("allow", name="ok", types=["xdp"]))

    load(object_of(program("x", kind=ProgramKind.XDP))).close()
    with pytest.raises(PolicyError):
        load(object_of(program("t")))

    allowed, refused = lines_of(log)
    assert allowed["decision"] == "allow"
    assert allowed["programs"][0] == {
        "name": "x",
        "type": "xdp",
        "attach": "xdp",
        "decision": "allow",
        "rule": "ok",
    }
    assert (allowed["uid"], allowed["user"]) == (0, "root")
    assert allowed["pid"] == os.getpid()
    assert allowed["digest"].startswith("sha256:")
    assert allowed["time"].endswith("Z")
    assert refused["decision"] == "deny"
    assert refused["programs"][0]["rule"] == 'default = "deny"'
    assert log.stat().st_mode & 0o777 == 0o600


@needs_root
def test_a_load_that_cannot_be_told_of_is_not_made(absent: Absent, place: Path) -> None:
    place.write_text(f'audit = "{place.parent}/no/dir"\ndefault = "allow"')

    with pytest.raises(PolicyError, match="nothing is loaded"):
        load(object_of(program("p")))

    assert absent.calls == []


@needs_root
def test_a_rule_is_appended_for_one_object(place: Path) -> None:
    spec = read(write(object_of(program("p"))))
    place.write_text("# of ours\n" + rule("deny", types=["xdp"]))
    place.chmod(0o640)
    facts = policy.facts_of(spec)

    policy.append_digest(read_policy(str(place)), 'the "one"', facts.digest)

    assert place.read_text().startswith("# of ours\n")
    assert place.stat().st_mode & 0o777 == 0o640
    assert policy.decide(read_policy(str(place)), facts, GAMES).allowed
    assert not policy.decide(
        read_policy(str(place)), policy.facts_of(object_of(program("q"))), ROOT
    ).allowed


@pytest.fixture
def keys() -> tuple[bytes, str]:
    """A private key in PEM, and the public one in base64."""
    ed25519 = pytest.importorskip(
        "cryptography.hazmat.primitives.asymmetric.ed25519",
        reason="needs the extra signatures",
    )
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    raw = private.public_key().public_bytes_raw()
    return pem, base64.b64encode(raw).decode()


def test_a_signature_of_the_object_is_asked_for(
    keys: tuple[bytes, str], tmp_path: Path
) -> None:
    private, public = keys
    spec = read(write(object_of(program("p"))))
    text = (
        f'signatures = "{tmp_path}"\n'
        + rule("allow", signed_by=["us"])
        + f'[keys]\nus = "{public}"\n'
    )
    assert not said(text, spec).allowed

    path = policy.sign(policy.facts_of(spec), private, str(tmp_path))
    assert said(text, spec).allowed

    # One of another object, under the name of this one.
    other = policy.facts_of(object_of(program("q")))
    wrong = Path(policy.sign(other, private, str(tmp_path))).read_bytes()
    Path(path).write_bytes(wrong)
    assert not said(text, spec).allowed


def test_signatures_that_cannot_be_verified_refuse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys  # noqa: PLC0415 - what is patched

    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    text = (
        f'signatures = "{tmp_path}"\n'
        + rule("allow", signed_by=["us"])
        + rule("allow")
        + '[keys]\nus = "AAAA"\n'
    )

    with pytest.raises(PolicyError, match="pip install"):
        said(text, object_of(program("p")))


@needs_root
@pytest.mark.usefixtures("absent")
def test_lines_go_to_syslog_where_nothing_else_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = place.with_name("log")
    monkeypatch.setattr("beewire.bpf.kernel.policy.audit._JOURNAL", str(log))
    place.write_text('default = "allow"')
    with pytest.raises(PolicyError, match=r"cannot be written to .*/log"):
        load(object_of(program("p")))

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(log))
        load(object_of(program("p"))).close()
        said = journal.recv(1 << 16).decode()

    head, _, line = said.partition(": ")
    assert head == f"<85>beewire[{os.getpid()}]"
    assert json.loads(line)["decision"] == "allow"


def test_openssl_makes_the_same_signatures(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra signatures")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    content = write(object_of(program("p")))
    spec = read(content)
    (tmp_path / "p.o").write_bytes(content)
    signature = f"{policy.facts_of(spec).digest}.sig"
    for words in (
        "genpkey -algorithm ed25519 -out key.pem",
        "pkey -in key.pem -pubout -out public.pem",
        f"pkeyutl -sign -rawin -inkey key.pem -in p.o -out {signature}",
    ):
        subprocess.run([openssl, *words.split()], cwd=tmp_path, check=True)
    public = (tmp_path / "public.pem").read_text()

    verdict = said(
        f'signatures = "{tmp_path}"\n'
        + rule("allow", signed_by=["us"])
        + f'[keys]\nus = """\n{public}"""\n',
        spec,
    )

    assert verdict.allowed
