from __future__ import annotations

import os
import subprocess
import sys
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from typer.testing import CliRunner

from coachstream.cli import main
from coachstream.cli.app import app
from coachstream.identity.local_issuer import LocalIssuer
from support.elsewhere import CREDENTIALS, WITHOUT_AWS, coachstream, coachstream_here
from support.patience import PATIENCE_S


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coachstream.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=cwd,
    )


def run_here(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, for tests that do not need a separate one."""
    return coachstream_here(*arguments, environment=os.environ.copy(), cwd=cwd)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_the_commands(tmp_path: Path, arguments: list[str]) -> None:
    """A user who types only the program's name learns how to continue."""
    shown = run_here(*arguments, cwd=tmp_path).stdout
    assert all(command in shown for command in ("serve", "chat", "token", "check", "table", "user-data"))


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("serve", "--store"),
        ("chat", "--token"),
        ("token", "--data"),
        ("check", "--offline"),
        ("table", "create"),
        ("table create", "--region"),
        ("user-data", "export"),
        ("user-data export", "--out"),
        ("user-data delete", "--yes"),
    ],
)
def test_each_command_explains_itself(tmp_path: Path, words: str, option: str) -> None:
    """`--help` needs no server and leaves nothing behind."""
    helped = run_here(*words.split(), "--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert option in helped.stdout
    assert list(tmp_path.iterdir()) == []


HELP = (
    *("", "serve", "chat", "token", "check", "package", "deploy", "table", "table create"),
    *("user-data", "user-data export", "user-data delete"),
)


@pytest.mark.parametrize("columns", ["40", "80"])
@pytest.mark.parametrize("words", HELP)
def test_no_word_of_a_help_text_is_cut_off(words: str, columns: str) -> None:
    """In a narrow terminal the text wraps and has the same words as in a very wide one."""
    narrow, wide = (
        CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": width}).stdout
        for width in (columns, "200")
    )
    assert "…" not in narrow
    assert "..." not in narrow.replace("[ARGS]...", "")
    assert _words(narrow) == _words(wide)


def _words(text: str) -> str:
    """The text without whitespace: a long word may be wrapped, but not truncated."""
    return "".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["serve", "--model", "gpt"], "Invalid value for '--model': 'gpt' is not one of 'demo', 'bedrock'."),
        (["serve", "--port", "abc"], "Invalid value for '--port': 'abc' is not a whole number."),
        (["serve", "--port", "99999"], "Invalid value for '--port': 99999 is more than 65535."),
        (["serve", "--warm", "-1"], "Invalid value for '--warm': -1 is less than 0."),
        (["serve", "--timeout", "soon"], "Invalid value for '--timeout': 'soon' is not a number."),
        (["serve", "--prot", "1"], "No such option: --prot (Possible options: --host, --port)"),
        (["serv"], "No such command 'serv'. Did you mean 'serve'?"),
        (["chat", "-m"], "Option '-m' requires an argument."),
        (["package", "--cpu", "86"], "Invalid value for '--cpu': '86' is not one of 'arm64', 'x86_64'."),
    ],
)
def test_a_mistyped_command_line_is_one_sentence_about_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    """No message of the parsing library, no frame, and exit status 2."""
    monkeypatch.setattr(sys, "argv", ["coachstream", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    shown = capsys.readouterr().err
    assert shown.splitlines()[0] == sentence
    assert "Value error" not in shown
    assert "Input should" not in shown


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    """`--version` prints one line."""
    assert run("--version", cwd=tmp_path).stdout == f"coachstream {version('coachstream')}\n"


def test_chat_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    """Exit status 1 and a sentence, no traceback."""
    refused = run_here("chat", cwd=tmp_path)
    assert refused.returncode == 1
    assert "`coachstream serve`" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_chat_with_a_wrong_address_says_so(tmp_path: Path) -> None:
    """No server listens on port 1."""
    refused = run_here("chat", "--url", "http://127.0.0.1:1/", "-m", "Hi", cwd=tmp_path)
    assert refused.returncode == 1
    assert "There is no server at http://127.0.0.1:1/" in refused.stderr


def test_a_token_needs_no_running_server(tmp_path: Path) -> None:
    """Once a server has created the issuer's key, tokens are signed with it."""
    LocalIssuer(tmp_path / "data").ensure_keys()
    arguments = ("token", "--data", "data", "--hours", "1")
    first, second = run(*arguments, cwd=tmp_path), run_here(*arguments, cwd=tmp_path)
    assert first.stdout.count(".") == second.stdout.count(".") == 2
    assert first.stdout.split(".")[0] == second.stdout.split(".")[0]


@pytest.mark.parametrize("command", ["token", "chat"])
def test_a_mistyped_data_folder_is_refused_and_not_made(tmp_path: Path, command: str) -> None:
    """Exit status 1, the remedy, and nothing on disk."""
    refused = run_here(command, "--data", "coahcstream", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "coahcstream" in refused.stderr
    assert "`coachstream serve --data coahcstream`" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_refused_in_a_folder_without_an_issuer(tmp_path: Path) -> None:
    """An existing folder of another kind gets no key either."""
    refused = run_here("token", "--data", ".", cwd=tmp_path)
    assert refused.returncode == 1
    assert "There is no local issuer in" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_created_once_where_the_endpoint_says(moto_url: str, tmp_path: Path) -> None:
    """The second run reports that the table exists; the option overrides the variable."""
    environment = {
        **WITHOUT_AWS,
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_DYNAMODB": moto_url,
        "DYNAMODB_TABLE_NAME": f"t-{uuid.uuid4().hex}",
    }
    first = coachstream("table", "create", environment=environment, cwd=tmp_path)
    second = coachstream_here("table", "create", environment=environment, cwd=tmp_path)
    name = environment["DYNAMODB_TABLE_NAME"]
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == f"Table {name} is ready in us-west-2 ({moto_url}).\n"
    assert second.stdout == f"Table {name} already exists in us-west-2 ({moto_url}).\n"
    elsewhere = coachstream_here(
        *("table", "create", "--table", f"{name}-2", "--region", "eu-west-1"), environment=environment
    )
    assert elsewhere.stdout == f"Table {name}-2 is ready in eu-west-1 ({moto_url}).\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ([], {}, "DYNAMODB_TABLE_NAME is not set ("),
        (["--table", "a b"], {}, "DYNAMODB_TABLE_NAME must be a table's name or ARN, not 'a b'."),
        (["--table", "abc"], {}, "No region is set. Set AWS_REGION."),
        (
            ["--table", "abc", "--region", "us-west-2"],
            {},
            "There are no AWS credentials (NoCredentialsError). Set",
        ),
        (
            ["--table", "abc"],
            {**CREDENTIALS, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            "http://127.0.0.1:1 cannot be reached (EndpointConnectionError).",
        ),
    ],
)
def test_a_table_that_cannot_be_created_is_a_sentence_with_a_remedy(
    arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    """Exit status 1, no traceback."""
    refused = coachstream("table", "create", *arguments, environment={**WITHOUT_AWS, **environment})
    assert refused.returncode == 1
    assert refused.stderr.startswith(sentence)
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr


def test_a_table_of_another_kind_is_left_alone(moto_url: str) -> None:
    """The error names the required keys."""
    name = f"t-{uuid.uuid4().hex}"
    client: Any = botocore.session.Session().create_client(
        "dynamodb",
        "us-west-2",
        endpoint_url=moto_url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.close()
    environment = {**WITHOUT_AWS, **CREDENTIALS, "AWS_ENDPOINT_URL": moto_url}
    refused = coachstream_here("table", "create", "--table", name, environment=environment)
    assert refused.returncode == 1
    assert "pk and sk" in refused.stderr


#: Makes packages appear not installed, then runs the command.
WITHOUT_PACKAGES = """\
import importlib.util, sys
missing, find_spec = sys.argv.pop(1).split(","), importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in missing else find_spec(name, package)
from coachstream.cli import main
main()
"""


@pytest.mark.parametrize(
    ("missing", "arguments", "sentence"),
    [
        ("typer", [], "pip install coachstream"),
        ("aiobotocore", ["table", "create", "--table", "abc"], "pip install 'coachstream[aws]'"),
        (
            "aiobotocore",
            ["serve", "--port", "0", "--store", "dynamodb", "--table", "abc"],
            "DynamoDB needs a package that is not installed. pip install 'coachstream[aws]'",
        ),
        (
            "aiobotocore",
            ["serve", "--port", "0", "--model", "bedrock", "--region", "us-west-2"],
            "Bedrock needs a package that is not installed. pip install 'coachstream[aws]'",
        ),
        ("pinecone", ["serve", "--port", "0", "--recall", "pinecone"], "pip install 'coachstream[pinecone]'"),
    ],
)
def test_a_package_that_is_not_installed_is_a_sentence(
    tmp_path: Path, missing: str, arguments: list[str], sentence: str
) -> None:
    """It says what to install; a part that is not chosen needs no package."""
    index = {"PINECONE_API_KEY": "k", "PINECONE_INDEX_HOST": "index.example"}
    refused = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES, missing, *arguments],
        env={**WITHOUT_AWS, **index},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=tmp_path,
    )
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
