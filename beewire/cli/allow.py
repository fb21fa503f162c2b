"""Ask this machine's policy whether an object may be loaded, and which rule decides.

FILE is a BPF object, or a Python file with programs, which are compiled as `beewire run`
compiles them. The policy is /etc/beewire/policy.toml; where there is none, everything is
allowed. Nothing is loaded. Exits with 0 if it is allowed, with 1 if not.
"""

import argparse
import json
from pathlib import Path

from beewire.bpf.author.collection import collect
from beewire.bpf.kernel import policy, running
from beewire.bpf.kernel.names import POLICY
from beewire.bpf.kernel.policy import Facts, Loader, Policy, Verdict
from beewire.bpf.object import ObjectSpec, read
from beewire.cli.userfile import import_file
from beewire.errors import DecodingError, UsageError

EPILOG = """\
examples:
  beewire allow prog.bpf.o
  beewire allow --user observer examples/exec_time.py
  beewire allow --add "exec_time, as reviewed" prog.bpf.o
  beewire allow --sign release.pem --signatures /etc/beewire/signatures prog.bpf.o"""

START = """\
audit = "syslog"

[[rule]]
name = "root may load anything"
decision = "allow"
users = ["root"]"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire allow`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="a BPF object, or Python programs"
    )
    parser.add_argument(
        "--user", metavar="NAME", help="as if NAME loaded it (or a uid)"
    )
    parser.add_argument(
        "--policy", metavar="TOML", help="this policy instead of the machine's"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--add",
        metavar="RULE",
        help="allow this very object from now on, by a rule of this name",
    )
    parser.add_argument(
        "--sign",
        metavar="KEY",
        type=Path,
        help="sign it with a private Ed25519 key (PEM)",
    )
    parser.add_argument(
        "--signatures",
        metavar="DIR",
        help="where the signature goes: the policy's place",
    )


def run(args: argparse.Namespace) -> int:
    """Decide, and say why; 1 when it is refused."""
    facts = policy.facts_of(object_in(args.file))
    found = policies(args.policy)
    if args.sign:
        print(f"signed: {sign(facts, args.sign, args.signatures, found)}")
    if args.add:
        add(facts, args.add, found)
        found = policies(args.policy)
    who = user(args.user)
    verdicts = [policy.decide(each, facts, who) for each in found]
    if args.json:
        print(json.dumps(as_json(facts, verdicts, who), indent=1))
    else:
        for line in as_text(facts, verdicts, who):
            print(line)
    return 0 if all(each.allowed for each in verdicts) else 1


def object_in(path: Path) -> ObjectSpec:
    """The object in a file, or the one that a Python file's programs make.

    Raises:
        UsageError: there is no such file, or it holds neither.
        CompileError: its programs cannot be compiled.
    """
    if path.suffix == ".py":
        return collect(import_file(path), name=path.stem, target=running())
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or '').lower()}") from None
    except DecodingError as error:
        raise UsageError(f"{path}: {error}") from None


def policies(path: str | None) -> list[Policy]:
    """The policy of a file, or those of this machine."""
    if path is None:
        return policy.policies()
    return [policy.parse_policy(text_of(path), path)]


def text_of(path: str) -> str:
    """The content of a policy that is only looked at.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None


def user(name: str | None) -> Loader:
    """Who is asked for.

    Raises:
        UsageError: there is no such user.
    """
    if name is None:
        return policy.loader()
    try:
        return policy.loader_of(int(name) if name.isdecimal() else name)
    except KeyError:
        raise UsageError(f"there is no user {name!r}") from None


def add(facts: Facts, name: str, found: list[Policy]) -> None:
    """Append a rule for this object to the policy.

    Raises:
        UsageError: there is no policy, or the object has no digest.
    """
    if not found:
        raise UsageError(
            f"there is no policy, so that everything is allowed already. To begin with "
            f"one, write {POLICY}, as root:\n\n{START}"
        )
    if not facts.digest:
        raise UsageError(
            f"object {facts.name!r} cannot be written as a file: no digest"
        )
    policy.append_digest(found[0], name, facts.digest)


def sign(facts: Facts, key: Path, folder: str | None, found: list[Policy]) -> str:
    """Sign the object; the path of the signature.

    Raises:
        UsageError: there is no such key, or nobody says where signatures lie.
    """
    folder = folder or next((each.signatures for each in found if each.signatures), "")
    if not folder:
        raise UsageError("say where the signature goes: --signatures DIR")
    try:
        return policy.sign(facts, key.read_bytes(), folder)
    except OSError as error:
        raise UsageError(
            f"{error.filename}: {(error.strerror or '').lower()}"
        ) from None


def as_text(facts: Facts, verdicts: list[Verdict], who: Loader) -> list[str]:
    """The digest, and a line for each program and policy, with what refused rules lack."""
    lines = [f"object {facts.name or '(no name)'}: sha256:{facts.digest or '(none)'}"]
    if not verdicts:
        lines.append(f"allowed: there is no policy ({POLICY})")
    for verdict in verdicts:
        lines.append(f"{verdict.policy.path}, for user {who.name}:")
        for each in verdict.decisions:
            word = "allowed" if each.allowed else "refused"
            program = each.program
            lines.append(
                f"  {word}  {program.name} ({program.attach}, "
                f"{program.type.lower()}): {each.rule}"
            )
            lines += [f"           {note}" for note in each.near if not each.allowed]
    return lines


def as_json(facts: Facts, verdicts: list[Verdict], who: Loader) -> dict[str, object]:
    """The same for programs to read."""
    return {
        "object": facts.name,
        "digest": facts.digest and f"sha256:{facts.digest}",
        "user": who.name,
        "allowed": all(each.allowed for each in verdicts),
        "programs": [
            {
                "name": each.name,
                "type": each.type.lower(),
                "attach": each.attach,
                "helpers": each.helpers,
                "maps": [kind.lower() for kind in each.maps],
            }
            for each in facts.programs
        ],
        "policies": [
            {
                "path": verdict.policy.path,
                "allowed": verdict.allowed,
                "programs": [
                    {
                        "name": each.program.name,
                        "allowed": each.allowed,
                        "rule": each.rule,
                        "others": each.near,
                    }
                    for each in verdict.decisions
                ],
            }
            for verdict in verdicts
        ],
    }
