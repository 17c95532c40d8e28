"""Everything the deployment pages name exists, and their sums are correct."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from coachstream.infrastructure.options import OPTIONS
from coachstream.settings.variables import VARIABLES
from support.places import CACHE, COACHSTREAM, ROOT

DOCS = ROOT / "docs"
COST = (DOCS / "explanation" / "cost.md").read_text()
TEXT = "\n".join(
    (DOCS / page).read_text()
    for page in (
        "tutorials/first-deployment.md",
        "how-to/replace-the-existing-function.md",
        "how-to/alarms.md",
        "how-to/choose-a-bedrock-model.md",
        "how-to/roll-back.md",
        "how-to/upgrade.md",
        "how-to/use-a-guardrail.md",
        "how-to/use-pinecone.md",
        "explanation/cold-starts.md",
        "explanation/cost.md",
        "explanation/limits.md",
        "troubleshooting.md",
    )
)
TOOLKIT = CACHE / "cdk" / "node_modules" / ".bin"
STACK = COACHSTREAM / "src" / "coachstream" / "deployment" / "stack.py"


def commands() -> Iterator[str]:
    """Every line of the shell blocks, with continued lines joined."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL):
        yield from filter(None, map(str.strip, re.sub(r"\\\n\s*", "", block).splitlines()))


def of_our_commands(name: str) -> list[list[str]]:
    """The arguments of each use of one of our commands."""
    found = []
    for line in commands():
        words = shlex.split(line, comments=True)
        if words[:2] == ["make", name]:
            found.append(shlex.split(words[2].removeprefix("ARGS=")) if len(words) > 2 else [])
        elif words[:2] == [".venv/bin/coachstream", name]:
            found.append(words[2:])
    return found


def help_of(command: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "coachstream.cli", command, "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def test_every_option_and_variable_that_is_named_exists() -> None:
    """This includes names in running text."""
    options = set(re.findall(r"`(--[a-z-]+)[ `]", TEXT))
    known = " ".join(map(help_of, ("deploy", "package", "serve", "chat"))) + " --no-"
    assert {option for option in options if not re.search(rf"{option}\b", known)} == set()
    named = set(re.findall(r"\bCOACHSTREAM_[A-Z_]+", TEXT))
    assert named <= {option.variable for option in OPTIONS} | {variable.name for variable in VARIABLES}


def test_every_output_that_is_read_is_written() -> None:
    """The pages use the names that the stack defines."""
    read = set(re.findall(r"\.CoachStream\.(\w+)", TEXT)) | set(re.findall(r"`(\w+FunctionUrl)`", TEXT))
    assert len(read) >= 6
    stack = STACK.read_text()
    made = {"userPoolId", "userPoolClientIds", "pineconeSecretArn"} & set(re.findall(r'"(\w+)"', stack))
    for api in re.findall(r'"(coach\w+Api)"', stack):
        made |= {f"{api}FunctionUrl", f"{api}Region"}
    made |= {f"dynamodbCoreTable{name}" for name in ("TableName", "TableArn", "Region")}
    assert read <= made


def test_the_costs_add_up() -> None:
    """The rows add up to the total, and without the model to the infrastructure cost that the page states."""
    rows = re.findall(r"^\| (.+?) \|.*\| \*?\*?\$([\d.]+)\*?\*? \|$", COST, re.MULTILINE)
    costs = {name: Decimal(cost) for name, cost in rows}
    together = costs.pop("**together**")
    assert len(costs) >= 7
    assert sum(costs.values(), Decimal()).quantize(Decimal("0.01")) == together
    ours = sum((cost for name, cost in costs.items() if not name.startswith("Claude")), Decimal())
    assert f"All but ${ours.quantize(Decimal('0.01'))} is the model" in COST


def test_each_cost_is_its_amount_times_its_price() -> None:
    """A reader can recalculate it with the prices of another region."""
    price = {
        name: Decimal(number) for name, number in re.findall(r"\| ([^|]+?) \|[^|]+\| \$([\d.]+) per", COST)
    }
    cost = {
        name: Decimal(number)
        for name, number in re.findall(r"^\| ([^|]+?) \|.*\| \$([\d.]+) \|$", COST, re.MULTILINE)
    }
    million, turns = Decimal(1_000_000), 1000
    expected: Mapping[str, Decimal] = {
        "Lambda, 2048 MB on Graviton": price["Lambda, 2048 MB on Graviton"] * 20 * turns,
        "Lambda, requests": price["Lambda, requests"] * turns / million,
        "DynamoDB, writes": price["DynamoDB, writes"] * 37 * turns / million,
        "DynamoDB, reads": price["DynamoDB, reads"] * 30 * turns / million,
        "Claude Sonnet 4.6, input": price["Claude Sonnet 4.6, input"] * 3000 * turns / million,
        "Claude Sonnet 4.6, output": price["Claude Sonnet 4.6, output"] * 300 * turns / million,
    }
    for name, amount in expected.items():
        assert abs(cost[name] - amount) < Decimal("0.005"), name


@pytest.mark.peer
def test_the_plan_that_is_shown_first_works_without_an_account(tmp_path: Path) -> None:
    """The printed command builds the package, lists what would be created, and writes the template."""
    if not (TOOLKIT / "cdk").exists():
        pytest.skip("needs the CDK toolkit: packages/coachstream/tests/infrastructure/toolkit/install.sh")
    (arguments, *_) = [arguments for arguments in of_our_commands("deploy") if "--plan" in arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    run = subprocess.run(
        [sys.executable, "-m", "coachstream.cli", "deploy", *arguments],
        cwd=tmp_path,
        env={
            **inherited,
            "HOME": str(tmp_path),
            "PATH": os.pathsep.join([str(TOOLKIT), os.environ["PATH"]]),
            "AWS_EC2_METADATA_DISABLED": "true",
            "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(CACHE / "jsii"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "The stack CoachStream would have:" in run.stdout
    assert re.search(r"3 +AWS::Lambda::Url", run.stdout)
    assert re.search(r"1 +AWS::Cognito::UserPool\b", run.stdout)
    assert (tmp_path / "dist" / "coachstream.zip").is_file()
    template = json.loads((tmp_path / "dist" / "cdk.out" / "CoachStream.template.json").read_bytes())
    assert "AWS::DynamoDB::Table" in {each["Type"] for each in template["Resources"].values()}
