"""`beewire-cni`: the plugin that a container runtime calls for each pod (CNI 0.4 to 1.1).

Chained behind the plugins that make the pod's network: ADD closes the namespace, before
anything runs in it, until the agent has found the pod's cgroups and enrolled it. What it
is told is in the environment and on standard input, what it answers is one object of
JSON (CNI specification, section 2). Nothing is imported that it does not need: a runtime
starts it for every pod.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TextIO

from beewire.errors import BeewireError, UsageError
from beewire.mesh.agent import client
from beewire.mesh.agent.directories import node_of

VERSIONS = ("0.4.0", "1.0.0", "1.1.0")

# Error codes of the specification; from 100 on they are the plugin's own.
INCOMPATIBLE = 1
UNKNOWN_CONTAINER = 3
BAD_ENVIRONMENT = 4
BAD_JSON = 6
BAD_CONFIGURATION = 7
TRY_LATER = 11
NOT_AVAILABLE = 50
FAILED = 100

INJECTED = "sidecar.istio.io/status"  # the annotation that Istio's injector leaves
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"  # the capability that hands them on
ALL, ANNOTATED = "all", "annotated"

Json = dict[str, Any]  # Any: what JSON can hold


class CniError(BeewireError):
    """What the runtime is told: a code of the specification, and sentences."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class Call(NamedTuple):
    """One call of the plugin: the environment, and the configuration."""

    environment: Mapping[str, str]
    configuration: Json

    @property
    def version(self) -> str:
        """The version of the specification that the runtime speaks."""
        return str(self.configuration.get("cniVersion", VERSIONS[0]))

    def variable(self, name: str) -> str:
        """A variable that has to be there.

        Raises:
            CniError: it is not.
        """
        found = self.environment.get(name, "")
        if not found:
            raise CniError(BAD_ENVIRONMENT, f"the variable {name} is missing")
        return found

    @property
    def attachment(self) -> Json:
        """Whose network it is about."""
        return {
            "sandbox": self.variable("CNI_CONTAINERID"),
            "interface": self.variable("CNI_IFNAME"),
        }

    @property
    def arguments(self) -> dict[str, str]:
        """CNI_ARGS as pairs: "K8S_POD_NAME=shop;K8S_POD_NAMESPACE=default"."""
        pairs = [
            each.partition("=")
            for each in self.environment.get("CNI_ARGS", "").split(";")
        ]
        return {name.strip(): value for name, equals, value in pairs if equals}

    @property
    def annotations(self) -> dict[str, str] | None:
        """The pod's annotations; None where the runtime does not hand them on."""
        runtime = self.configuration.get("runtimeConfig")
        found = runtime.get(ANNOTATIONS) if isinstance(runtime, dict) else None
        if not isinstance(found, dict):
            return None
        return {str(name): str(value) for name, value in found.items()}


def main() -> int:
    """The console script `beewire-cni`."""
    return run(os.environ, sys.stdin, sys.stdout)


def run(environment: Mapping[str, str], stdin: TextIO, stdout: TextIO) -> int:
    """Do one call; 0, or 1 with the error as JSON on `stdout`."""
    version = VERSIONS[-1]
    try:
        command = environment.get("CNI_COMMAND", "")
        configuration = _read(stdin)
        call = Call(environment, configuration)
        version = call.version if call.version in VERSIONS else version
        answer = _do(command, call)
    except CniError as error:
        _tell(stdout, version, error)
        return 1
    except BeewireError as error:
        details = "; ".join(getattr(error, "__notes__", []))
        _tell(stdout, version, CniError(FAILED, str(error), details))
        return 1
    except OSError as error:
        code = 5  # I/O failure
        _tell(stdout, version, CniError(code, error.strerror or str(error)))
        return 1
    if answer is not None:
        json.dump(answer, stdout)
        stdout.write("\n")
    return 0


def _read(stdin: TextIO) -> Json:
    try:
        found = json.loads(stdin.read() or "{}")
    except (ValueError, RecursionError) as error:
        raise CniError(BAD_JSON, f"the configuration is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CniError(BAD_JSON, "the configuration is no object")
    return found


def _tell(stdout: TextIO, version: str, error: CniError) -> None:
    told = {"cniVersion": version, "code": error.code, "msg": str(error)}
    if error.details:
        told["details"] = error.details
    json.dump(told, stdout)
    stdout.write("\n")


def _do(command: str, call: Call) -> Json | None:
    if command == "VERSION":
        return {"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)}
    does = _COMMANDS.get(command)
    if does is None:
        known = ", ".join([*_COMMANDS, "VERSION"])
        said = f"CNI_COMMAND is {command!r}" if command else "CNI_COMMAND is missing"
        raise CniError(BAD_ENVIRONMENT, f"{said}; it is one of {known}")
    if call.version not in VERSIONS:
        raise CniError(
            INCOMPATIBLE,
            f"version {call.version} of CNI is not supported",
            f"this plugin speaks {', '.join(VERSIONS)}",
        )
    return does(call)


def _add(call: Call) -> Json:
    previous = call.configuration.get("prevResult")
    if not isinstance(previous, dict):
        raise CniError(
            BAD_CONFIGURATION,
            "there is no prevResult: beewire-cni comes behind the plugins that make the"
            " pod's network",
        )
    netns = call.variable("CNI_NETNS")
    attachment = call.attachment
    if _is_ours(call):
        arguments = call.arguments
        namespace, name = (
            arguments.get(f"K8S_POD_{word}", "") for word in ("NAMESPACE", "NAME")
        )
        wanted = {
            **attachment,
            "netns": netns,
            "network": str(call.configuration.get("name", "")),
            "name": f"{namespace}/{name}" if namespace and name else name,
            "uid": arguments.get("K8S_POD_UID", ""),
            "config": _config(call),
        }
        try:
            client.ask(node_of(os.environ), "add", wanted)
        except client.NoAgent as error:
            raise CniError(
                TRY_LATER,
                "the Beewire agent does not run, and a pod that nobody enrols would stay"
                " closed",
                f"{error}; start it: systemctl start beewire",
            ) from error
    # Keys of another version would be read by nobody: it is handed on as it came.
    return {**previous, "cniVersion": call.version}


def _is_ours(call: Call) -> bool:
    """Whether the pod is in the mesh, by what the configuration selects."""
    select = call.configuration.get("select", ANNOTATED)
    if select not in (ALL, ANNOTATED):
        raise CniError(
            BAD_CONFIGURATION, f"select is {select!r}; it is {ALL!r} or {ANNOTATED!r}"
        )
    if select == ALL:
        return True
    annotations = call.annotations
    if annotations is None:
        raise CniError(
            BAD_CONFIGURATION,
            "the runtime hands on no annotations, by which pods of the mesh are known",
            f'add "capabilities": {{"{ANNOTATIONS}": true}} to the plugin, or "select":'
            f' "{ALL}"',
        )
    return INJECTED in annotations


def _config(call: Call) -> str:
    """The pod's configuration as a Beewire file: its annotations, or the plugin's own."""
    given = call.configuration.get("config", "")
    if not isinstance(given, str):
        raise CniError(BAD_CONFIGURATION, "config is the text of a Beewire file")
    annotations = call.annotations
    if given or not annotations:
        return given
    # 100 modules: only for pods that say anything.
    from beewire.mesh.config import combine, read_annotations, write_file  # noqa: PLC0415

    try:
        return write_file(combine(read_annotations(annotations)))
    except UsageError as error:
        notes = "; ".join(getattr(error, "__notes__", []))
        raise CniError(BAD_CONFIGURATION, str(error), notes) from error


def _del(call: Call) -> None:
    # Also where nothing is known of it, or no agent runs: a runtime tries again for ever.
    _ask("delete", call.attachment)


def _check(call: Call) -> None:
    if not isinstance(call.configuration.get("prevResult"), dict):
        raise CniError(BAD_CONFIGURATION, "there is no prevResult")
    if not _is_ours(call):
        return
    known = _ask("list", {})
    names = call.attachment
    if not any(
        (each["sandbox"], each["interface"]) == (names["sandbox"], names["interface"])
        for each in known
    ):
        raise CniError(
            UNKNOWN_CONTAINER,
            f"no pod is known by {names['sandbox']} and {names['interface']}",
        )
    if wrong := _ask("check", names):
        raise CniError(
            FAILED, "the pod is not served as it should be", "; ".join(wrong)
        )


def _status(_: Call) -> None:
    try:
        client.ask(node_of(os.environ), "hello")
    except client.NoAgent as error:
        raise CniError(
            NOT_AVAILABLE, "the Beewire agent does not run", str(error)
        ) from error


def _gc(call: Call) -> None:
    valid = call.configuration.get("cni.dev/valid-attachments")
    if not isinstance(valid, list):
        raise CniError(BAD_CONFIGURATION, "there is no list cni.dev/valid-attachments")
    try:
        pairs = [[each["containerID"], each["ifname"]] for each in valid]
    except (TypeError, KeyError) as error:
        raise CniError(
            BAD_CONFIGURATION,
            "an entry of cni.dev/valid-attachments has no containerID, or no ifname",
        ) from error
    network = str(call.configuration.get("name", ""))
    _ask("collect", {"network": network, "valid": pairs})


def _ask(do: str, arguments: Mapping[str, object]) -> Any:
    try:
        return client.ask(node_of(os.environ), do, arguments)
    except client.NoAgent:
        from beewire.mesh.agent.mesh import Mesh  # noqa: PLC0415 - the whole toolkit

        with Mesh() as mesh:
            return mesh.do(do, arguments)


_COMMANDS: dict[str, Callable[[Call], Json | None]] = {
    "ADD": _add,
    "DEL": _del,
    "CHECK": _check,
    "STATUS": _status,
    "GC": _gc,
}
