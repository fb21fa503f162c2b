"""Check how a pod is configured: what is wrong, what differs from what one may expect.

Every fault is told with its annotation, flag, variable or key, with what is wrong, and with
what to write. Then every setting is told with its origin. Nothing is changed.
"""

import argparse
import sys

from beewire.cli.mesh_config import add_configuration, configuration, pod_manifest
from beewire.cli.style import Ink, paint, wants_colour
from beewire.cli.table import Column, Row, print_json, print_table
from beewire.mesh.config import (
    KNOB,
    KNOBS,
    Configuration,
    Finding,
    Level,
    Setting,
    refusals,
)

EPILOG = """\
examples:
  beewire mesh check --pod pod.yaml
  beewire mesh check --pod deployment.yaml --values values.yaml --json
  beewire mesh check --annotation traffic.sidecar.istio.io/includeInboundPorts=70000

Exit codes: 0 Beewire can serve the pod, 1 it cannot, 2 the command line or a file is
wrong."""

FAILED = 1
INKS = {Level.ERROR: Ink.BAD, Level.NOTE: Ink.DOUBT}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `beewire mesh check`."""
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print all that is known")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="tell knobs that nobody turned, too, and what Beewire does with each",
    )
    add_configuration(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings and the settings; 1 if a finding is an error."""
    found = configuration(args, faults=True)
    told = (*found.findings, *refusals(found.settings), *_of_pod(args))
    findings = tuple(sorted(told, key=lambda each: each.level is Level.NOTE))
    failed = any(finding.level is Level.ERROR for finding in findings)
    if args.json:
        print_json(_told(found, findings, failed=failed))
    else:
        _print(found, findings)
        if args.verbose:
            _print_others(found)
    return FAILED if failed else 0


def _of_pod(args: argparse.Namespace) -> tuple[Finding, ...]:
    pod = pod_manifest(args)
    return pod.refusals() if pod else ()


def _told(
    found: Configuration, findings: tuple[Finding, ...], *, failed: bool
) -> dict[str, object]:
    return {
        "ok": not failed,
        "findings": [
            {
                "level": each.level.value,
                "source": each.origin.source.value,
                "name": each.origin.name,
                "place": each.origin.place,
                "problem": each.problem,
                "advice": each.advice,
            }
            for each in findings
        ],
        "settings": [
            {
                "knob": name,
                "value": _spelled(found, name),
                "source": setting.origin.source.value,
                "name": setting.origin.name,
                "place": setting.origin.place,
                "support": KNOB[name].support.value,
            }
            for name, setting in _in_order(found)
        ],
    }


def _print(found: Configuration, findings: tuple[Finding, ...]) -> None:
    colour = wants_colour(sys.stdout)
    for finding in findings:
        level = paint(finding.level.value, INKS[finding.level], colour=colour)
        print(f"{level}: {finding}")
    rows = [
        Row((KNOB[name].path, _spelled(found, name) or '""', str(setting.origin)))
        for name, setting in _in_order(found)
    ]
    if rows:
        print()
        print_table((Column("SETTING"), Column("VALUE"), Column("FROM")), rows)


def _print_others(found: Configuration) -> None:
    rows = []
    for knob in KNOBS:
        said = found.settings.get(knob.name)
        default = said.value if said else knob.default
        value = getattr(found.config, knob.name, default)
        text = "" if value is None else knob.kind.write(value)
        rows.append(Row((knob.path, text or '""', knob.support.value)))
    print()
    print_table((Column("EVERY KNOB"), Column("VALUE"), Column("BY BEEWIRE")), rows)


def _in_order(found: Configuration) -> list[tuple[str, Setting]]:
    return [(name, found.settings[name]) for name in KNOB if name in found.settings]


def _spelled(found: Configuration, name: str) -> str:
    # What takes effect: a pod's excluded ports are more than were said.
    said = found.settings[name].value
    return KNOB[name].kind.write(getattr(found.config, name, said))
