"""`docs/configuration.md`, made of the table of variables: `python -m coachstream.settings.docs [FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from coachstream.settings.variables import READ_BY_OTHERS, VARIABLES, Part, Variable

_SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret"

EXAMPLES: Mapping[str, Mapping[str, str]] = {
    "On a laptop": {
        "COACHSTREAM_STORE": "sqlite",
        "COACHSTREAM_MODEL": "demo",
        "COACHSTREAM_IDENTITY": "local",
        "COACHSTREAM_RECALL": "sqlite",
        "COACHSTREAM_DATA_DIR": ".coachstream",
    },
    "On a laptop, with a model on Bedrock and nothing else at AWS": {
        "COACHSTREAM_STORE": "sqlite",
        "COACHSTREAM_MODEL": "bedrock",
        "COACHSTREAM_IDENTITY": "local",
        "COACHSTREAM_RECALL": "sqlite",
        "COACHSTREAM_DATA_DIR": ".coachstream",
        "AWS_REGION": "us-west-2",
        "AWS_PROFILE": "coach",
    },
    "Next to the existing backend": {
        "COACHSTREAM_STORE": "dynamodb",
        "DYNAMODB_TABLE_NAME": "Coaches-AllItems-V2",
        "MIRROR_MESSAGES": "true",
        "COACHSTREAM_MODEL": "bedrock",
        "COACHSTREAM_IDENTITY": "cognito",
        "USER_POOL_ID": "us-west-2_aBcDeFgHi",
        "APP_CLIENT_ID": "1h57kf5cpq17m0eml12EXAMPLE",
        "COACHSTREAM_TICKET_KEY_SECRET_ARN": f"{_SECRET}:tickets-d4E5f6",
        "COACHSTREAM_RECALL": "pinecone",
        "PINECONE_API_KEY_SECRET_ARN": f"{_SECRET}:pinecone-a1B2c3",
        "PINECONE_INDEX_HOST": "coaches-abc123.svc.aped-1234-a56b.pinecone.io",
        "BUILD_WORKOUT_FUNCTION_NAME": "build-workout",
        "BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME": "build-conversation-summary",
    },
}
"""Environments to begin with."""

_HEAD = """\
<!-- Made by `python -m coachstream.settings.docs`; edit `settings/variables.py` instead. -->

# Configuration

Everything is set by environment variables. Where the system that coachstream stands beside has a name for
something, the name is its own; all others begin with `COACHSTREAM_`.

- **What a deployment must decide has no default.** Without a store, a model and an identity nothing is
  served, so that the demo's parts are never used because a variable was forgotten.
- **A part that is not chosen needs nothing**, and its variables are not looked at.
- **All configuration errors are reported together**, in the log of a function as it starts, and a function
  with any of them does not start.
- **A misspelled name is refused** by the commands, with the name that was probably meant; a function that is
  in use logs one warning and goes on.
- An empty variable counts as unset.

`coachstream check` reports what the environment configures, where each part would connect, and whether it can
(`--offline` connects to nothing). With the options of `coachstream serve`, it reports on what that would run.
`coachstream serve` needs no variable: it chooses everything on this machine, unless a variable says
otherwise, or an option (`--store dynamodb --table T`, `--model bedrock`,
`--recall pinecone`, `--identity cognito`), which beats the variable.

**Secrets** are read from the environment, or at their first use from AWS Secrets Manager, where a variable
names their ARN; they are neither printed nor logged. A process reads a secret once: it does not learn of its
rotation.
"""


_EXAMPLES_NOTE = """\
`coachstream serve` sets what the first example says by itself, and needs `COACHSTREAM_MODEL=bedrock`, region
and profile of the second. On Lambda, region and credentials are there already.
"""


def document() -> str:
    """The whole page."""
    sections = [_HEAD, _examples()]
    for part in Part:
        variables = [variable for variable in (*VARIABLES, *READ_BY_OTHERS) if variable.part is part]
        sections.append(f"## {part.value}\n\n{_table(variables)}")
    return "\n".join(sections)


def _examples() -> str:
    blocks = [_EXAMPLES_NOTE]
    for title, environment in EXAMPLES.items():
        lines = "\n".join(f"{name}={value}" for name, value in environment.items())
        blocks.append(f"### {title}\n\n```sh\n{lines}\n```\n")
    return "## To begin with\n\n" + "\n".join(blocks)


def _table(variables: Iterable[Variable]) -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{each.name}` | {_default(each)} | {_meaning(each)} |" for each in variables]
    return "\n".join(rows) + "\n"


def _default(variable: Variable) -> str:
    if variable.is_required:
        return "**required**" if variable.of is None else f"**required** with `{variable.of}`"
    return "" if variable.default is None else f"`{variable.default}`"


def _meaning(variable: Variable) -> str:
    notes = [
        f"with `{variable.of}` only" if variable.of is not None and not variable.is_required else "",
        "**secret**" if variable.is_secret else "",
        f"read by {variable.reader}" if variable.reader is not None else "",
    ]
    return "; ".join([variable.meaning, *filter(None, notes)])


def main() -> None:
    """Write the page to the file that is named, or print it."""
    match sys.argv[1:]:
        case [file]:
            Path(file).write_text(document())
        case _:
            sys.stdout.write(document())


if __name__ == "__main__":
    main()
