"""`coachstream deploy`, with the real CDK toolkit, against a stand-in for AWS."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from coachstream.infrastructure.options import OPTIONS
from support.patience import PATIENCE_S
from support.places import CACHE

TOOLKIT = CACHE / "cdk" / "node_modules" / ".bin"
REGION = "us-west-2"

BESIDE = (
    *("--cors-origins", "https://app.example.com", "--table-name", "Proto-AllItems"),
    *("--user-pool-id", f"{REGION}_Existing1", "--client-ids", "web1client"),
    *("--ticket-key-secret-arn", f"arn:aws:secretsmanager:{REGION}:123456789012:secret:tickets-d4E5f6"),
)
"""Next to an existing backend. (Moto's CloudFormation knows no user pools and no secrets.)"""


class Deployer:
    """Somebody in a folder of their own, with a package that is ready."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.package = folder / "package.zip"
        with zipfile.ZipFile(self.package, "w") as archive:
            archive.writestr("handler.py", "")

    def deploy(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return subprocess.run(
            [sys.executable, "-m", "coachstream.cli", "deploy", "--package", str(self.package), *arguments],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )


@pytest.fixture
def laptop(tmp_path: Path) -> Deployer:
    """No account, no credentials, and nobody to ask for any."""
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    environment = {
        **inherited,
        "PATH": os.pathsep.join([str(TOOLKIT), inherited["PATH"]]),
        "HOME": str(tmp_path),
        "COLUMNS": "200",
        "AWS_EC2_METADATA_DISABLED": "true",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(CACHE / "jsii"),
        "CI": "true",
    }
    return Deployer(tmp_path, environment)


@pytest.fixture
def account(laptop: Deployer) -> Iterator[Deployer]:
    """Credentials, of an account that is prepared for CDK."""
    if not (TOOLKIT / "cdk").exists():
        pytest.skip("needs the CDK toolkit: packages/coachstream/tests/infrastructure/toolkit/install.sh")
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            port = next(
                found[1] for line in server.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)", line))
            )
            # Moto takes templates from addresses with this name only. What it writes must go somewhere.
            drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
            url = f"http://localhost:{port}"
            with_account = {
                **laptop.environment,
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_REGION": REGION,
            }
            deployer = Deployer(laptop.folder, with_account)
            prepared = subprocess.run(
                [str(TOOLKIT / "cdk"), "bootstrap", f"aws://123456789012/{REGION}"],
                cwd=laptop.folder,
                env=with_account,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )
            assert prepared.returncode == 0, prepared.stderr
            yield deployer
        finally:
            server.kill()
        drain.wait()


def functions_of(account: Deployer) -> dict[str, Any]:
    """What the account's Lambda has, by handler."""
    import botocore.session

    client = botocore.session.Session().create_client(
        "lambda",
        region_name=REGION,
        endpoint_url=account.environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    try:
        functions = client.list_functions()["Functions"]  # type: ignore[attr-defined] # made at run time
        return {function["Handler"]: function for function in functions}
    finally:
        client.close()


def test_a_plan_makes_nothing_and_deploying_makes_the_functions(account: Deployer) -> None:
    """What is planned is shown; what is deployed has the settings that were given."""
    planned = account.deploy("--plan", *BESIDE)
    assert planned.returncode == 0, planned.stderr
    assert "StreamCoachConversation/Function" in planned.stdout + planned.stderr
    assert functions_of(account) == {}

    deployed = account.deploy("--yes", *BESIDE)
    assert deployed.returncode == 0, deployed.stderr
    made = functions_of(account)
    assert len(made) == 3
    stream = made["coachstream.functions.stream_coach_conversation.handler.handler"]
    assert stream["Timeout"] == 300
    variables = stream["Environment"]["Variables"]
    assert variables["DYNAMODB_TABLE_NAME"] == "Proto-AllItems"
    assert variables["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/lambda_streaming/exec-wrapper"
    assert (account.folder / "dist" / "outputs.json").is_file()


def test_without_credentials_a_plan_says_what_there_would_be(laptop: Deployer) -> None:
    """And names the template that has all of it."""
    if not (TOOLKIT / "cdk").exists():
        pytest.skip("needs the CDK toolkit: packages/coachstream/tests/infrastructure/toolkit/install.sh")
    planned = laptop.deploy("--plan", "--cors-origins", "https://app.example.com", "--stack-name", "Coach")
    assert planned.returncode == 0, planned.stderr
    assert "The stack Coach would have:" in planned.stdout
    assert re.search(r"3 +AWS::Lambda::Url", planned.stdout)
    assert re.search(r"1 +AWS::Cognito::UserPool\b", planned.stdout)
    template = json.loads((laptop.folder / "dist" / "cdk.out" / "Coach.template.json").read_bytes())
    assert "AWS::DynamoDB::Table" in {each["Type"] for each in template["Resources"].values()}


def test_a_model_that_has_ended_is_warned_of_and_stops_nothing(laptop: Deployer) -> None:
    """By the option that names it, with what to do. The next thing that is missing is what stops it: Node."""
    model_id = "us.anthropic.claude-sonnet-4-20250514-v1:0"
    origins = ("--cors-origins", "https://app.example.com")
    planned = laptop.deploy("--plan", *origins, "--model-id", model_id, PATH="/nonexistent")
    warning, *others = planned.stderr.splitlines()
    assert warning.startswith(f"--model-id is {model_id}. It reached its end of life on 2026-10-14")
    assert "an active model" in warning
    assert "Node.js" in "".join(others)


def test_wrong_options_are_said_before_cdk_is_loaded_by_the_names_that_were_typed(laptop: Deployer) -> None:
    """All of them; neither the toolkit nor the library that is slow to start is needed for that."""
    refused = laptop.deploy(
        *("--plan", "--cors-origins", "*", "--memory-mb", "64"),
        PATH="/nonexistent",
        COACHSTREAM_DEPLOY_TIMEOUT_S="soon",
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "--memory-mb must be a whole number from 128 to 10240, not '64'.",
        "COACHSTREAM_DEPLOY_TIMEOUT_S must be a whole number from 10 to 900, not 'soon'.",
        "--cors-origins has *, which allows every page; name origins, or set --allow-any-origin.",
    ]
    assert not (laptop.folder / "dist").exists()


def test_an_empty_value_is_refused_and_not_taken_for_the_default(laptop: Deployer) -> None:
    """Such as that of a shell variable that is not set; an empty variable of ours is one that is not set."""
    refused = laptop.deploy(
        *("--plan", "--cors-origins", "https://app.example.com", "--metrics-namespace", ""),
        PATH="/nonexistent",
        COACHSTREAM_DEPLOY_TABLE_NAME="",
    )
    assert refused.returncode == 1
    assert refused.stderr == "--metrics-namespace is empty; leave it out for its default.\n"


def test_a_package_that_is_not_there_is_said_with_the_other_mistakes(laptop: Deployer) -> None:
    """Before anything is built."""
    laptop.package.unlink()
    refused = laptop.deploy("--plan", "--cors-origins", "https://app.example.com", "--snap-start")
    assert refused.stderr.startswith(
        f"--package: {laptop.package} does not exist; `coachstream package` builds"
    )
    assert refused.returncode == 1


def test_who_may_call_has_to_be_said(laptop: Deployer) -> None:
    """Before anything is built."""
    refused = laptop.deploy()
    assert refused.returncode == 1
    assert "--cors-origins" in refused.stderr
    assert not (laptop.folder / "dist").exists()


def _path_with(folder: Path, programs: Mapping[str, str]) -> str:
    """A PATH with these shell scripts and nothing else."""
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    shell = shutil.which("sh")
    assert shell is not None
    (folder / "sh").symlink_to(shell)
    return str(folder)


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        ({}, "AWS CDK needs Node.js, which is not installed"),
        ({"node": "echo v16.20.0"}, "AWS CDK needs Node.js 18 or newer"),
        ({"node": "echo v22.1.0"}, "Neither the CDK toolkit nor npx"),
        ({"node": "echo v22.1.0", "cdk": "echo 1.204.0"}, "Neither the CDK toolkit nor npx"),
    ],
)
def test_what_is_missing_on_the_machine_is_said(
    laptop: Deployer, programs: Mapping[str, str], sentence: str
) -> None:
    """Node.js, a new enough one, and the toolkit of version 2 or what fetches it."""
    path = _path_with(laptop.folder / "bin", programs)
    refused = laptop.deploy("--cors-origins", "https://app.example.com", PATH=path)
    assert refused.returncode == 1
    assert sentence in refused.stderr


def test_a_node_that_cdk_no_longer_supports_is_warned_of_once(laptop: Deployer) -> None:
    """It is tried all the same."""
    path = _path_with(laptop.folder / "bin", {"node": "echo v20.1.0", "cdk": "echo 2.9.0"})
    tried = laptop.deploy("--cors-origins", "https://app.example.com", PATH=path)
    assert tried.stderr.count("AWS CDK no longer supports Node.js 20; update to 22.") == 1


def test_every_option_of_the_stack_can_be_given(laptop: Deployer) -> None:
    """Under its name, in the help as well."""
    help_text = laptop.deploy("--help").stdout
    for option in OPTIONS:
        name = option.variable.removeprefix("COACHSTREAM_DEPLOY_").lower().replace("_", "-")
        assert f"--{name} " in help_text, name
