"""The drop-in creates the same resources in an Amplify backend as the Python construct."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coachstream.infrastructure.target import PACKAGED_KEYS
from coachstream.settings import Settings
from coachstream.settings.variables import JWKS_FILE, POST_TURN_FUNCTION
from support.amplify import Assembly
from support.templates import REGION, Template

# The first process synthesizes for all; the others wait for it.

CONSTRUCT = "StreamCoachConversation"
TWINS = {"usual": "Quiet", "imported": "Imported", "encrypted": "Encrypted"}
GROUPS = {"usual": "coachstream", "imported": "coach", "encrypted": "coachstream"}
KEYS = {"imported": {JWKS_FILE.name: PACKAGED_KEYS}}
PARTS = ("function", "environment", "url", "permissions", "statements", "role", "log")

AssemblyOf = Callable[[str], Assembly]
TemplateOf = Callable[[str], Template]
Made = dict[str, Any]

in_every_app = pytest.mark.parametrize("app", TWINS)


@pytest.fixture
def amplify(assembly_of: AssemblyOf, app: str) -> Made:
    """The function's resources in an Amplify backend."""
    return made(assembly_of(app).template(GROUPS[app]))


@pytest.fixture
def construct(template_of: TemplateOf, app: str) -> Made:
    """The function's resources in the stack with the same choices.

    The drop-in creates no function for the work after turns, so what refers to the stack's own is left out.
    """
    stack = made(template_of(TWINS[app]))
    stack["environment"].pop(POST_TURN_FUNCTION.name, None)
    stack["statements"] = [
        each for each in stack["statements"] if "ProcessPostTurn" not in str(each["Resource"])
    ]
    return stack


def made(template: Template) -> Made:
    """All resources of the function in a template; generated names are replaced by fixed ones."""
    function = template.within(CONSTRUCT, "AWS::Lambda::Function")
    function.properties.pop("Code")  # an asset's
    environment = function.properties.pop("Environment")["Variables"]
    log = template.within(CONSTRUCT, "AWS::Logs::LogGroup")
    parts: Made = {
        "function": _untagged(function.properties),
        "environment": environment,
        "url": template.within(CONSTRUCT, "AWS::Lambda::Url").properties,
        "permissions": [
            permission.properties for permission in template.all_within(CONSTRUCT, "AWS::Lambda::Permission")
        ],
        "statements": sorted(
            template.within(CONSTRUCT, "AWS::IAM::Policy").properties["PolicyDocument"]["Statement"],
            key=lambda statement: str(statement.get("Sid")),
        ),
        "role": _untagged(template.within(CONSTRUCT, "AWS::IAM::Role").properties),
        "log": [_untagged(log.properties), log.raw["DeletionPolicy"]],
    }
    text = json.dumps(parts)
    names = {
        function.name: "TheFunction",
        environment["DYNAMODB_TABLE_NAME"]: "TheTable",
        **{secret.name: "TheKey" for secret in template.resources("AWS::SecretsManager::Secret")},
    }
    for name, same in names.items():
        text = text.replace(name, same)
    renamed: Made = json.loads(text)
    for statement in renamed["statements"]:
        if isinstance(statement["Resource"], list):
            statement["Resource"].sort()
    return renamed


def _untagged(properties: dict[str, Any]) -> dict[str, Any]:
    """Properties without tags, which Amplify adds to every resource."""
    return {name: value for name, value in properties.items() if name != "Tags"}


@in_every_app
@pytest.mark.parametrize("part", [part for part in PARTS if part != "environment"])
def test_it_is_what_the_python_construct_makes(amplify: Made, construct: Made, part: str) -> None:
    """Runtime, size, log, tracing; the URL's mode, authorization and CORS; permissions and statements."""
    assert amplify[part]
    assert amplify[part] == construct[part]


@in_every_app
def test_the_function_is_set_as_the_python_construct_sets_it(
    amplify: Made, construct: Made, app: str
) -> None:
    """Variables have the same values, and unset ones have their defaults."""
    ours, theirs = construct["environment"], amplify["environment"]
    more = {name: theirs.pop(name) for name in set(theirs) - set(ours)}
    # Amplify's variable for its own secrets, and packaged keys, which the stack's packages do not have.
    assert more == {"AMPLIFY_SSM_ENV_CONFIG": "{}", **KEYS.get(app, {})}
    assert _settings(theirs) == _settings(ours)
    assert theirs["AWS_LAMBDA_EXEC_WRAPPER"] == ours["AWS_LAMBDA_EXEC_WRAPPER"]


def _settings(environment: dict[str, str]) -> Settings:
    return Settings.from_environment({**environment, "AWS_REGION": REGION})


@pytest.mark.parametrize("app", ["usual"])
def test_the_comparison_sees_all_there_is(amplify: Made) -> None:
    """A streaming URL without authorization, two public permissions, and no other statement."""
    assert set(amplify) == set(PARTS)
    assert (amplify["url"]["InvokeMode"], amplify["url"]["AuthType"]) == ("RESPONSE_STREAM", "NONE")
    assert {permission["Action"] for permission in amplify["permissions"]} == {
        "lambda:InvokeFunctionUrl",
        "lambda:InvokeFunction",
    }
    named = {statement.get("Sid", statement["Action"][0]) for statement in amplify["statements"]}
    assert named == {
        "AnalysisModel",
        "AnalysisModelBehindProfile1",
        "Log",
        "Models",
        "ModelsBehindProfile1",
        "Secrets",
        "Table",
        "xray:PutTraceSegments",
    }


@pytest.mark.parametrize(
    ("app", "output"),
    [("usual", "coachConversationStreamingApi"), ("imported", "coachConversationPythonApi")],
)
def test_the_outputs_contain_the_url(assembly_of: AssemblyOf, app: str, output: str) -> None:
    """Under the name that front ends of the existing system read, or another; with a trailing slash."""
    assembly = assembly_of(app)
    group = GROUPS[app]
    (url,) = assembly.template(group).resources("AWS::Lambda::Url")
    told = json.loads(assembly.resolve(assembly.root["Outputs"]["customOutputs"]["Value"]))
    assert told["custom"] == {
        output: {
            "functionUrl": f"https://{url.name.lower()}.lambda-url.{REGION}.on.aws/",
            "region": REGION,
        }
    }


@in_every_app
def test_no_other_stack_depends_on_the_functions(assembly_of: AssemblyOf, app: str) -> None:
    """This rules out circular dependencies, whatever the function refers to."""
    assembly = assembly_of(app)
    name = assembly.name(GROUPS[app])
    others = {other: assembly.given(other) for other in assembly.nested if other != name}
    assert others
    assert not [other for other, given in others.items() if name in json.dumps(given)]


@in_every_app
def test_the_linter_finds_nothing_of_ours(assembly_of: AssemblyOf, app: str, tmp_path: Path) -> None:
    """Except W3005: CDK declares a dependency twice, which is redundant and harmless."""
    assembly = assembly_of(app)
    path = tmp_path / "template.json"
    path.write_text(json.dumps(assembly.nested[assembly.name(GROUPS[app])]))
    linter = Path(sys.executable).with_name("cfn-lint")
    options = ("--format", "parseable", "--regions", REGION, "--ignore-checks", "W3005")
    found = subprocess.run(
        [linter, *options, "--template", path],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
