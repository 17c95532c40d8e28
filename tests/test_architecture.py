"""The direction of the imports, which the design does not negotiate."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
PACKAGES = ("lambda_streaming", "coachstream")
MODULES = sorted(SRC.rglob("*.py"))

#: What each room may import of the project. A room is the longest prefix that fits; itself is always allowed.
ALLOWED: dict[str, tuple[str, ...]] = {
    "lambda_streaming": (),
    "coachstream": (),
    "coachstream.conversation": ("coachstream.dated_facts",),
    "coachstream.aws": ("coachstream.freshness",),
    "coachstream.aws.credential_faults": (),
    "coachstream.dated_facts": (),
    "coachstream.endpoint": (),
    "coachstream.freshness": (),
    "coachstream.private_files": (),
    "coachstream.sqlite_file": ("coachstream.conversation", "coachstream.private_files"),
    "coachstream.storage": (
        "coachstream.aws.credential_faults",
        "coachstream.conversation",
        "coachstream.sqlite_file",
    ),
    "coachstream.language": (
        "coachstream.aws.credential_faults",
        "coachstream.conversation",
        "coachstream.dated_facts",
    ),
    "coachstream.recall": ("coachstream.conversation", "coachstream.endpoint", "coachstream.sqlite_file"),
    "coachstream.identity": (
        "coachstream.conversation",
        "coachstream.endpoint",
        "coachstream.freshness",
        "coachstream.private_files",
    ),
    "coachstream.hand_off": ("coachstream.aws.credential_faults", "coachstream.conversation"),
    "coachstream.web": ("coachstream.conversation", "lambda_streaming"),
    "coachstream.settings": ("coachstream.endpoint",),
    "coachstream.observability": ("coachstream.conversation", "coachstream.settings"),
    "coachstream.services": (
        "coachstream.aws",
        "coachstream.conversation",
        "coachstream.hand_off",
        "coachstream.identity",
        "coachstream.language",
        "coachstream.observability",
        "coachstream.recall",
        "coachstream.settings",
        "coachstream.storage",
    ),
    "coachstream.turns": ("coachstream.conversation", "coachstream.services"),
    "coachstream.functions": (
        "coachstream.conversation",
        "coachstream.observability",
        "coachstream.services",
        "coachstream.settings",
        "coachstream.turns",
        "coachstream.web",
        "lambda_streaming",
    ),
    "coachstream.infrastructure.target": ("coachstream.dated_facts",),
    "coachstream.infrastructure.option_rules": ("coachstream.endpoint",),
    "coachstream.infrastructure.options": (
        "coachstream.infrastructure.option_rules",
        "coachstream.settings",
    ),
    "coachstream.infrastructure.deploy_options": (
        "coachstream.endpoint",
        "coachstream.infrastructure.option_rules",
        "coachstream.infrastructure.options",
        "coachstream.settings",
    ),
    "coachstream.infrastructure": (
        "coachstream.conversation",
        "coachstream.dated_facts",
        "coachstream.functions.coach_conversations.resource",
        "coachstream.functions.send_coach_conversation_message.resource",
        "coachstream.functions.stream_coach_conversation.resource",
        "coachstream.settings",
        "coachstream.storage",
        "coachstream.web.cross_origin",
    ),
    "coachstream.functions.coach_conversations.resource": ("coachstream.infrastructure",),
    "coachstream.functions.send_coach_conversation_message.resource": ("coachstream.infrastructure",),
    "coachstream.functions.stream_coach_conversation.resource": ("coachstream.infrastructure",),
    "coachstream.package": (
        "coachstream.dated_facts",
        "coachstream.identity",
        "coachstream.infrastructure.target",
        "coachstream.settings",
        "lambda_streaming",
    ),
    "coachstream.local": ("coachstream", "lambda_streaming"),
    "coachstream.cli": ("coachstream", "lambda_streaming"),
}


#: Adapters of the same port, which never know one another.
RIVALS = (
    ("coachstream.storage.sqlite", "coachstream.storage.dynamodb"),
    ("coachstream.language.demo", "coachstream.language.bedrock"),
    ("coachstream.recall.sqlite", "coachstream.recall.pinecone"),
    ("coachstream.identity.local_issuer", "coachstream.identity.cognito"),
)


#: What defines, packs and deploys the functions. It is on the machine of who deploys, and never on Lambda.
BEFORE_RUN_TIME = (
    "coachstream.infrastructure",
    "coachstream.package",
    *(room for room in ALLOWED if room.endswith(".resource")),
)

#: What needs no CDK, nor what comes with it: for commands that run, or explain themselves, without.
WITHOUT_CDK = (
    "coachstream.infrastructure.deploy_options",
    "coachstream.infrastructure.inference_profiles",
    "coachstream.infrastructure.option_rules",
    "coachstream.infrastructure.options",
    "coachstream.infrastructure.package_contents",
    "coachstream.infrastructure.prices",
    "coachstream.infrastructure.quotas",
    "coachstream.infrastructure.target",
    "coachstream.infrastructure.toolkit",
)

#: Those who may know it: the commands, and what looks after the facts that it is built on.
DEPLOYERS = ("coachstream.cli", "coachstream.check.facts")


def _name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            assert node.module is not None
            found.add(node.module)
    return found


def _imported_names(path: Path) -> set[str]:
    """Modules, and what is taken from them, which may be a module as well."""
    taken = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return _imports(path) | taken


def _is_within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def _room(module: str) -> str:
    return max((room for room in ALLOWED if _is_within(module, room)), key=len)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_go_one_way(path: Path) -> None:
    """A module imports of the project only what its room may know."""
    room = _room(_name(path))
    ours = {name for name in _imports(path) if name.split(".")[0] in PACKAGES}
    strangers = {
        name
        for name in ours
        if not _is_within(name, room) and not any(_is_within(name, allowed) for allowed in ALLOWED[room])
    }
    assert not strangers, f"{room} must not know {sorted(strangers)}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_what_runs_on_lambda_does_not_know_how_it_gets_there(path: Path) -> None:
    """No constructs, no CDK and no packaging outside the rooms for them."""
    if any(_is_within(_name(path), room) for room in (*BEFORE_RUN_TIME, *DEPLOYERS)):
        return
    for name in _imported_names(path):
        assert not any(_is_within(name, room) for room in (*BEFORE_RUN_TIME, "aws_cdk", "constructs")), name


@pytest.mark.parametrize("module", WITHOUT_CDK)
def test_what_says_that_it_needs_no_cdk_needs_none(module: str) -> None:
    """Neither itself nor through a neighbour."""
    (path,) = [path for path in MODULES if _name(path) == module]
    for name in _imports(path):
        assert name.split(".")[0] not in {"aws_cdk", "constructs", "jsii"}
        assert not _is_within(name, "coachstream.infrastructure") or name in WITHOUT_CDK, name


@pytest.mark.parametrize("rivals", RIVALS, ids=lambda rivals: rivals[0].split(".")[1])
def test_adapters_of_one_port_do_not_know_each_other(rivals: tuple[str, str]) -> None:
    """What both need has a room of its own."""
    for one, other in (rivals, rivals[::-1]):
        paths = [path for path in MODULES if _is_within(_name(path), one)]
        assert paths
        for path in paths:
            assert not any(_is_within(name, other) for name in _imports(path)), path


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if _is_within(_name(path), "coachstream.conversation")],
    ids=_name,
)
def test_the_domain_knows_only_the_standard_library_and_msgspec(path: Path) -> None:
    """No I/O library, no AWS, no HTTP in the domain."""
    roots = {name.split(".")[0] for name in _imports(path)}
    assert roots <= set(sys.stdlib_module_names) | {"msgspec", "coachstream"}


@pytest.mark.parametrize(
    "word",
    ["asyncio.streams", "socket", "http", "sqlite3", "subprocess", "urllib"],
)
def test_the_domain_does_no_input_or_output(word: str) -> None:
    """The domain imports nothing that talks to the outside."""
    domain = [path for path in MODULES if _is_within(_name(path), "coachstream.conversation")]
    assert domain
    for path in domain:
        assert not any(_is_within(name, word) for name in _imports(path)), path
