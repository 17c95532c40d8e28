"""The deployment recipes: each is valid for its own tool, and deploys the same streaming function.

The tools run for real, offline: `sam validate`, `cdk synth`, the Serverless Framework's `package`, and the
AWS CLI against moto. Terraform's provider is on no package registry, so its file is parsed, and its arguments
are compared with `terraform_arguments.json`, an extract of the provider's schema.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from lambda_streaming.layer.build import EXEC_WRAPPER as WRAPPER_OF_LAYER
from support.moto_account import CREDENTIALS, REGION, moto_account
from support.patience import PATIENCE_S
from support.places import CACHE, ROOT
from support.templates import QUIET

pytestmark = pytest.mark.peer

RECIPES = ROOT / "deploy" / "recipes"
TOOLS = CACHE / "deployment-tools" / "venv" / "bin"
OSLS = CACHE / "serverless" / "node_modules" / ".bin" / "osls"
CDK = CACHE / "cdk" / "node_modules" / ".bin" / "cdk"
ARGUMENTS = json.loads(Path(__file__).with_name("terraform_arguments.json").read_text())["resources"]

#: `CodeUri` is what `sam package` makes of it. No managed policy is named by its short name.
TRANSFORM = """
import json, sys
from pathlib import Path
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

template = yaml_parse(Path(sys.argv[1]).read_text())
template["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://bucket/key"
policies = type("Policies", (), {"load": lambda self: {}})()
print(json.dumps(transform(template, {"AWS::Region": "us-west-2"}, policies)))
"""
PARSE_TERRAFORM = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))"


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """What a recipe deploys.

    Attributes:
        public: the actions that everyone may perform, each with its condition.
    """

    runtime: str = "python3.13"
    architectures: tuple[str, ...] = ("arm64",)
    handler: str = "main.app"
    timeout: int = 30
    memory_size: int = 512
    variables: tuple[tuple[str, str], ...] = (
        ("AWS_LAMBDA_EXEC_WRAPPER", "/var/task/lambda_streaming/exec-wrapper"),
    )
    invoke_mode: str = "RESPONSE_STREAM"
    auth_type: str
    public: frozenset[tuple[str, str]]


EXPECTED = {
    "AWS_IAM": Deployed(auth_type="AWS_IAM", public=frozenset()),
    "NONE": Deployed(
        auth_type="NONE",
        public=frozenset(
            {("lambda:InvokeFunctionUrl", "auth type NONE"), ("lambda:InvokeFunction", "through the URL")}
        ),
    ),
}


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """The recipes, after `package.sh`; the app's dependencies are left out."""
    folder = tmp_path / "recipes"
    shutil.copytree(RECIPES, folder)
    shutil.copytree(folder / "function", folder / "package")
    with zipfile.ZipFile(folder / "function.zip", "w") as archive:
        archive.write(folder / "function" / "main.py", "main.py")
    return folder


def installed(program: Path, installer: str) -> str:
    """The program's path; skips the test if it is not installed."""
    if not program.exists():
        pytest.skip(f"needs {installer} to have been run")
    return str(program)


def tool(name: str) -> str:
    return installed(TOOLS / name, "packages/lambda-streaming/tests/recipes/tools/install.sh")


def run(*command: str, cwd: Path, **variables: str) -> str:
    """Run a tool as a person without an AWS account does, and return its output."""
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(cwd),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,  # what version 1 of the AWS CLI reads
        "AWS_EC2_METADATA_DISABLED": "true",
        "CI": "true",
        **QUIET,
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(CACHE / "jsii"),
        "SAM_CLI_TELEMETRY": "0",
        "SLS_NOTIFICATIONS_MODE": "off",
        **variables,
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What each tool makes of its recipe.


def of_template(template: Mapping[str, Any]) -> Deployed:
    """What a CloudFormation template deploys."""
    by_type: dict[str, list[Mapping[str, Any]]] = {}
    for resource in template["Resources"].values():
        by_type.setdefault(resource["Type"], []).append(resource.get("Properties", {}))
    (function,), (url,) = by_type["AWS::Lambda::Function"], by_type["AWS::Lambda::Url"]
    return _deployed(function, url, map(_permission, by_type.get("AWS::Lambda::Permission", ())))


def _deployed(
    function: Mapping[str, Any], url: Mapping[str, Any], public: Iterable[tuple[str, str]]
) -> Deployed:
    """What a function and its URL are, with the names that CloudFormation and Lambda's API share."""
    return Deployed(
        runtime=function["Runtime"],
        architectures=tuple(function["Architectures"]),
        handler=function["Handler"],
        timeout=function["Timeout"],
        memory_size=function["MemorySize"],
        variables=tuple(function["Environment"]["Variables"].items()),
        invoke_mode=url["InvokeMode"],
        auth_type=url["AuthType"],
        public=frozenset(public),
    )


def _permission(properties: Mapping[str, Any]) -> tuple[str, str]:
    assert properties["Principal"] == "*"
    conditions = {"FunctionUrlAuthType": "auth type NONE", "InvokedViaFunctionUrl": "through the URL"}
    (condition,) = conditions.keys() & properties.keys()
    assert properties[condition] in ("NONE", True)
    return properties["Action"], conditions[condition]


def by_sam(recipes: Path, auth_type: str) -> Deployed:
    """Validated by the SAM CLI, transformed by the transform that CloudFormation runs."""
    sam = recipes / "sam"
    said = run(tool("sam"), "validate", "--lint", "--template", "template.yaml", cwd=sam)
    assert "is a valid SAM Template" in said
    template = json.loads(run(tool("python"), "-c", TRANSFORM, "template.yaml", cwd=sam))
    assert template["Conditions"] == {"IsPublic": {"Fn::Equals": [{"Ref": "AuthType"}, "NONE"]}}
    assert template["Parameters"]["AuthType"]["Default"] == "AWS_IAM"
    template["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if auth_type == "NONE" or resource.get("Condition") != "IsPublic"
    }
    return of_template(json.loads(json.dumps(template).replace('{"Ref": "AuthType"}', f'"{auth_type}"')))


def by_cdk(recipes: Path, auth_type: str) -> Deployed:
    """Synthesized by the toolkit."""
    cdk = installed(CDK, "packages/coachstream/tests/infrastructure/toolkit/install.sh")
    arguments = () if auth_type == "AWS_IAM" else ("--context", f"auth={auth_type}")
    run(cdk, "synth", "--quiet", "--no-notices", *arguments, cwd=recipes / "cdk")
    return of_template(json.loads((recipes / "cdk" / "cdk.out" / "StreamingApp.template.json").read_text()))


def by_serverless(recipes: Path, auth_type: str) -> Deployed:
    """Packaged by the framework, for which no account is needed."""
    osls = installed(OSLS, "packages/lambda-streaming/tests/recipes/serverless/install.sh")
    arguments = () if auth_type == "AWS_IAM" else (f"--param=auth={auth_type}",)
    run(osls, "package", "--package", "packaged", *arguments, cwd=recipes / "serverless")
    packaged = recipes / "serverless" / "packaged" / "cloudformation-template-update-stack.json"
    return of_template(json.loads(packaged.read_text()))


def by_terraform(recipes: Path, auth_type: str) -> Deployed:
    """Parsed, with the variable's value in place of its uses."""
    parsed = json.loads(run(tool("python"), "-c", PARSE_TERRAFORM, "main.tf", cwd=recipes / "terraform"))
    count = '${var.auth_type == "NONE" ? 1 : 0}'
    resources = {
        (kind.strip('"'), name.strip('"')): arguments
        for each in parsed["resource"]
        for kind, named in each.items()
        for name, arguments in named.items()
    }
    used = {kind for kind, _ in resources}
    assert used == set(ARGUMENTS)
    for (kind, name), arguments in resources.items():
        given = arguments.keys() - {"__is_block__", "count"}
        known = ARGUMENTS[kind]
        assert given <= {*known["required"], *known["optional"]}, (kind, name)
        assert given >= set(known["required"]), (kind, name)

    def value_of(argument: Any) -> Any:  # noqa: ANN401 (of any type)
        if argument == "${var.auth_type}":
            return auth_type
        return argument.strip('"') if isinstance(argument, str) else argument

    function = resources["aws_lambda_function", "app"]
    (environment,) = function["environment"]
    url = resources["aws_lambda_function_url", "app"]
    permissions = [each for (kind, _), each in resources.items() if kind == "aws_lambda_permission"]
    assert [each["count"] for each in permissions] == [count, count]
    template = {
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": value_of(function["runtime"]),
                "Architectures": [value_of(each) for each in function["architectures"]],
                "Handler": value_of(function["handler"]),
                "Timeout": function["timeout"],
                "MemorySize": function["memory_size"],
                "Environment": {
                    "Variables": {name: value_of(each) for name, each in environment["variables"].items()}
                },
            },
        },
        "Url": {
            "Type": "AWS::Lambda::Url",
            "Properties": {
                "InvokeMode": value_of(url["invoke_mode"]),
                "AuthType": value_of(url["authorization_type"]),
            },
        },
    }
    names = {
        "function_url_auth_type": "FunctionUrlAuthType",
        "invoked_via_function_url": "InvokedViaFunctionUrl",
        "principal": "Principal",
        "action": "Action",
    }
    if auth_type == "NONE":
        for number, each in enumerate(permissions):
            properties = {names[name]: value_of(value) for name, value in each.items() if name in names}
            template[f"Permission{number}"] = {"Type": "AWS::Lambda::Permission", "Properties": properties}
    return of_template({"Resources": template})


@pytest.fixture(scope="module")
def account() -> Iterator[Mapping[str, str]]:
    """The variables that lead the AWS CLI to an account of moto's."""
    with moto_account(managed_policies=True) as variables:
        yield variables


def deploy_by_cli(recipes: Path, account: Mapping[str, str], auth_type: str) -> str:
    """Run the script, and return the URL that it prints."""
    tool("aws")
    path = os.pathsep.join([str(TOOLS), os.environ["PATH"]])
    script = str(recipes / "aws-cli" / "deploy.sh")
    name = f"app-{auth_type.lower()}"
    return run(script, name, cwd=recipes, PATH=path, AUTH_TYPE=auth_type, **account).strip()


def in_account(account: Mapping[str, str], auth_type: str) -> Deployed:
    """What the account's Lambda has."""
    client = boto3.client(
        "lambda",
        region_name=REGION,
        endpoint_url=account["AWS_ENDPOINT_URL"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    name = f"app-{auth_type.lower()}"
    function = client.get_function_configuration(FunctionName=name)
    url = client.get_function_url_config(FunctionName=name)
    statements: list[Mapping[str, Any]] = []
    if auth_type == "NONE":
        statements = json.loads(client.get_policy(FunctionName=name)["Policy"])["Statement"]
    return _deployed(function, url, ((each["Action"], str(each.get("Condition"))) for each in statements))


@pytest.mark.parametrize("auth_type", EXPECTED)
def test_the_aws_cli_recipe_deploys_a_streaming_function(
    recipes: Path, account: Mapping[str, str], auth_type: str
) -> None:
    """A second run, with another zip, keeps the URL and the configuration."""
    url = deploy_by_cli(recipes, account, auth_type)
    assert url.startswith("https://")
    deployed = in_account(account, auth_type)
    expected = EXPECTED[auth_type]
    assert {action for action, _ in deployed.public} == {action for action, _ in expected.public}
    assert msgspec.structs.replace(deployed, public=expected.public) == expected
    if auth_type == "NONE":
        with zipfile.ZipFile(recipes / "function.zip", "a") as archive:
            archive.writestr("more.py", "# more")
        assert deploy_by_cli(recipes, account, auth_type) == url
        assert in_account(account, auth_type) == deployed


@pytest.mark.parametrize("auth_type", EXPECTED)
@pytest.mark.parametrize("synthesized", [by_sam, by_cdk, by_serverless, by_terraform])
def test_a_recipe_is_valid_for_its_tool_and_deploys_a_streaming_function(
    recipes: Path, synthesized: Callable[[Path, str], Deployed], auth_type: str
) -> None:
    """Its facts are those of all others; everyone gets access only if asked for, and then completely."""
    assert synthesized(recipes, auth_type) == EXPECTED[auth_type]


def test_the_app_of_the_recipes_is_what_they_deploy(recipes: Path) -> None:
    """The handler is an app of the packaged module, and its dependencies are named."""
    module, _, name = EXPECTED["NONE"].handler.partition(".")
    assert re.search(rf"^{name} = ", (recipes / "package" / f"{module}.py").read_text(), re.MULTILINE)
    assert {"fastapi", "lambda-streaming"} == set(
        (recipes / "function" / "requirements.txt").read_text().split()
    )
    script = (recipes / "package.sh").read_text()
    python = EXPECTED["NONE"].runtime.removeprefix("python")
    assert f"--python-version {python} --platform manylinux2014_aarch64" in script


def test_the_layer_page_names_the_layers_wrapper() -> None:
    """The one variable of a function with the layer."""
    page = (ROOT / "docs" / "how-to" / "lambda-streaming" / "layer.md").read_text()
    assert f"AWS_LAMBDA_EXEC_WRAPPER={WRAPPER_OF_LAYER}" in page
