"""`coachstream deploy` with the real CDK toolkit, against a stand-in for AWS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from coachstream.infrastructure.options import OPTIONS
from support.moto_account import CREDENTIALS, REGION, moto_account
from support.patience import PATIENCE_S
from support.places import CACHE

TOOLKIT = CACHE / "cdk" / "node_modules" / ".bin"

EXISTING = (
    *("--cors-origins", "https://app.example.com", "--table-name", "Proto-AllItems"),
    *("--user-pool-id", f"{REGION}_Existing1", "--client-ids", "web1client"),
    *("--ticket-key-secret-arn", f"arn:aws:secretsmanager:{REGION}:123456789012:secret:tickets-d4E5f6"),
)
"""Options for an existing backend. (Moto's CloudFormation supports neither user pools nor secrets.)"""


class Deployer:
    """A user in their own folder, with a package ready."""

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
    """A machine without an account or credentials, and without a way to get any."""
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
    """Credentials of an account that is bootstrapped for CDK."""
    if not (TOOLKIT / "cdk").exists():
        pytest.skip("needs the CDK toolkit: packages/coachstream/tests/infrastructure/toolkit/install.sh")
    # Moto accepts templates only from this host name.
    with moto_account(host="localhost") as variables:
        deployer = Deployer(laptop.folder, {**laptop.environment, **variables})
        prepared = subprocess.run(
            [str(TOOLKIT / "cdk"), "bootstrap", f"aws://123456789012/{REGION}"],
            cwd=laptop.folder,
            env=deployer.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert prepared.returncode == 0, prepared.stderr
        yield deployer


def functions_of(account: Deployer) -> dict[str, Any]:
    """The functions in the account's Lambda, by handler."""
    import botocore.session

    client = botocore.session.Session().create_client(
        "lambda",
        region_name=REGION,
        endpoint_url=account.environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        functions = client.list_functions()["Functions"]  # type: ignore[attr-defined] # made at run time
        return {function["Handler"]: function for function in functions}
    finally:
        client.close()


def test_a_plan_makes_nothing_and_deploying_makes_the_functions(account: Deployer) -> None:
    """The plan is shown; the deployed functions have the given settings."""
    planned = account.deploy("--plan", *EXISTING)
    assert planned.returncode == 0, planned.stderr
    assert "StreamCoachConversation/Function" in planned.stdout + planned.stderr
    assert functions_of(account) == {}

    deployed = account.deploy("--yes", *EXISTING)
    assert deployed.returncode == 0, deployed.stderr
    made = functions_of(account)
    assert len(made) == 4
    stream = made["coachstream.functions.stream_coach_conversation.handler.handler"]
    assert stream["Timeout"] == 300
    variables = stream["Environment"]["Variables"]
    assert variables["DYNAMODB_TABLE_NAME"] == "Proto-AllItems"
    assert variables["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/lambda_streaming/exec-wrapper"
    assert (account.folder / "dist" / "outputs.json").is_file()


def test_a_model_past_its_end_of_life_is_a_warning_only(laptop: Deployer) -> None:
    """The warning names the option and the remedy; the command then fails only because Node.js is missing."""
    model_id = "us.anthropic.claude-sonnet-4-20250514-v1:0"
    origins = ("--cors-origins", "https://app.example.com")
    planned = laptop.deploy("--plan", *origins, "--model-id", model_id, PATH="/nonexistent")
    warning, *others = planned.stderr.splitlines()
    assert warning.startswith(f"--model-id is {model_id}. It reached its end of life on 2026-10-14")
    assert "an active model" in warning
    assert "Node.js" in "".join(others)


def test_wrong_options_are_reported_by_their_typed_names_before_cdk_is_loaded(laptop: Deployer) -> None:
    """All of them, without the toolkit or the library that is slow to start."""
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


def test_an_empty_option_is_refused_instead_of_replaced_by_its_default(laptop: Deployer) -> None:
    """It usually comes from an unset shell variable. An empty environment variable counts as unset."""
    refused = laptop.deploy(
        *("--plan", "--cors-origins", "https://app.example.com", "--metrics-namespace", ""),
        PATH="/nonexistent",
        COACHSTREAM_DEPLOY_TABLE_NAME="",
    )
    assert refused.returncode == 1
    assert refused.stderr == "--metrics-namespace is empty; leave it out for its default.\n"


def test_a_missing_package_is_reported_before_anything_is_built(laptop: Deployer) -> None:
    """The error says how to build one."""
    laptop.package.unlink()
    refused = laptop.deploy("--plan", "--cors-origins", "https://app.example.com", "--snap-start")
    assert refused.stderr.startswith(
        f"--package: {laptop.package} does not exist; `coachstream package` builds"
    )
    assert refused.returncode == 1


def test_the_allowed_origins_are_required(laptop: Deployer) -> None:
    """Their absence is reported before anything is built."""
    refused = laptop.deploy()
    assert refused.returncode == 1
    assert "--cors-origins" in refused.stderr
    assert not (laptop.folder / "dist").exists()


def _path_with(folder: Path, programs: Mapping[str, str]) -> str:
    """A PATH with only these shell scripts."""
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
def test_a_missing_program_is_reported(laptop: Deployer, programs: Mapping[str, str], sentence: str) -> None:
    """Node.js, a recent enough version of it, and the CDK 2 toolkit or npx."""
    path = _path_with(laptop.folder / "bin", programs)
    refused = laptop.deploy("--cors-origins", "https://app.example.com", PATH=path)
    assert refused.returncode == 1
    assert sentence in refused.stderr


def test_an_unsupported_node_version_is_a_single_warning(laptop: Deployer) -> None:
    """The deployment still proceeds."""
    path = _path_with(laptop.folder / "bin", {"node": "echo v20.1.0", "cdk": "echo 2.9.0"})
    tried = laptop.deploy("--cors-origins", "https://app.example.com", PATH=path)
    assert tried.stderr.count("AWS CDK no longer supports Node.js 20; update to 22.") == 1


def test_every_option_of_the_stack_can_be_given(laptop: Deployer) -> None:
    """Under its name, which `--help` lists as well."""
    help_text = laptop.deploy("--help").stdout
    for option in OPTIONS:
        name = option.variable.removeprefix("COACHSTREAM_DEPLOY_").lower().replace("_", "-")
        assert f"--{name} " in help_text, name
