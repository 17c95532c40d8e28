"""Amplify apps in a folder, and the templates synthesized from their backends."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.patience import PATIENCE_S
from support.templates import QUIET, Template


@dataclass(frozen=True)
class Apps:
    """Apps and the libraries they need.

    Attributes:
        folder: contains the apps, by name.
        libraries: the folder where the libraries are installed.
    """

    folder: Path
    libraries: Path

    def backend(self, app: str) -> Path:
        """The program that defines an app's backend."""
        return self.folder / app / "amplify" / "backend.ts"

    def synthesize(self, assemblies: Mapping[str, Path]) -> subprocess.CompletedProcess[str]:
        """Synthesize apps, each into a folder."""
        backends = {str(self.backend(app)): str(folder) for app, folder in assemblies.items()}
        return self.node(self.folder / "synthesize.mjs", json.dumps(backends))

    def node(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the folder or of a library, without this machine's AWS settings."""
        return subprocess.run(
            ["node", *arguments],
            # CDK treats the folder with a lock file as the project, and bundles nothing from outside it.
            cwd=self.libraries,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    @contextmanager
    def started(self, log: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Start such a program; it ends when its standard input closes, and writes its errors to the log."""
        with (
            log.open("w") as complaints,
            subprocess.Popen(
                ["node", *arguments],
                cwd=self.libraries,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            ) as process,
        ):
            yield process


def _environment() -> dict[str, str]:
    ignored = ("AWS_", "CDK_", "COACHSTREAM_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ignored)}, **QUIET}


@dataclass(frozen=True)
class Assembly:
    """A synthesized backend: a stack and its nested stacks.

    Attributes:
        root: the template of the stack itself.
        nested: the templates of the nested stacks, by their names in the stack.
    """

    root: dict[str, Any]
    nested: Mapping[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Assembly:
        """Read the templates in a folder."""
        nested = set(folder.glob("*.nested.template.json"))
        (main,) = set(folder.glob("*.template.json")) - nested
        root = json.loads(main.read_text())
        stacks = {
            name: json.loads((folder / resource["Metadata"]["aws:asset:path"]).read_text())
            for name, resource in root["Resources"].items()
            if resource["Type"] == "AWS::CloudFormation::Stack"
        }
        return cls(root, stacks)

    def name(self, group: str) -> str:
        """The full name of a group's stack, to which CDK appends eight characters."""
        (name,) = [name for name in self.nested if name[:-8] == group]
        return name

    def template(self, group: str) -> Template:
        """The template of a nested stack, with the values it gets from the other stacks."""
        name = self.name(group)
        values = {parameter: self.resolve(given) for parameter, given in self.given(name).items()}
        return Template(_with(values, self.nested[name]))

    def given(self, name: str) -> dict[str, Any]:
        """The parameters of a nested stack."""
        given: dict[str, Any] = self.root["Resources"][name]["Properties"].get("Parameters", {})
        return given

    def resolve(self, value: Any) -> Any:  # noqa: ANN401 (JSON has that many)
        """A value of the root stack, with references to nested stacks resolved."""
        match value:
            case {"Fn::GetAtt": [str(name), str(output)]} if name in self.nested:
                template = self.nested[name]
                found = template["Outputs"][output.removeprefix("Outputs.")]["Value"]
                return Template(template).resolve(found)
            case {"Fn::Join": [str(separator), list(parts)]}:
                return separator.join(map(str, map(self.resolve, parts)))
        return Template(self.root).resolve(value)


def _with(values: Mapping[str, Any], node: Any) -> Any:  # noqa: ANN401 (JSON has that many)
    """A node with its parameters replaced by values."""
    match node:
        case {"Ref": str(name)} if name in values:
            return values[name]
        case dict():
            return {key: _with(values, each) for key, each in node.items()}
        case list():
            return [_with(values, each) for each in node]
    return node
