"""The direction of imports, a fixed rule of the design."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from support.architecture import is_within, modules_in, problems
from support.places import SOURCES


@pytest.fixture(scope="module")
def modules() -> Mapping[str, frozenset[str]]:
    """Every module of the project and its imports."""
    found = {name: of for source in SOURCES for name, of in modules_in(source).items()}
    # The package itself holds only a docstring, so every other module must be in a room.
    assert not found.pop("coachstream") - {"__future__.annotations"}
    return found


#: What each room may import of the project, apart from itself (`support.architecture`).
ROOMS: dict[str, tuple[str, ...]] = {
    "lambda_streaming": (
        "lambda_streaming.asgi_app",
        "lambda_streaming.event_sources",
        "lambda_streaming.function_url",
    ),
    "lambda_streaming.asgi_app": ("lambda_streaming", "lambda_streaming.event_sources"),
    "lambda_streaming.event_sources": (),
    "lambda_streaming.function_url": ("lambda_streaming",),
    "lambda_streaming.emulator": ("lambda_streaming.function_url",),
    "lambda_streaming.packaging": (),
    "lambda_streaming.layer": ("lambda_streaming.packaging",),
    # The domain: the vocabulary, and its three parts.
    "coachstream.conversation": (
        "coachstream.conversation.prompt.coach",
        "coachstream.conversation.prompt.prompt",
        "coachstream.conversation.prompt.summary",
        "coachstream.conversation.prompt.user",
        "coachstream.dated_facts",
    ),
    "coachstream.conversation.prompt": ("coachstream.conversation",),
    "coachstream.conversation.runs": ("coachstream.conversation",),
    "coachstream.conversation.turn": (
        "coachstream.conversation",
        "coachstream.conversation.prompt",
        "coachstream.conversation.runs",
        "coachstream.time_zone",
    ),
    # Shared by several adapters.
    "coachstream.aws": ("coachstream.aws.credential_faults", "coachstream.freshness"),
    "coachstream.aws.credential_faults": (),
    "coachstream.dated_facts": (),
    "coachstream.endpoint": (),
    "coachstream.extras": ("coachstream.settings",),
    "coachstream.freshness": (),
    "coachstream.private_files": (),
    "coachstream.sqlite_file": ("coachstream.conversation.errors", "coachstream.private_files"),
    "coachstream.time_zone": (),
    # The adapters, which do not import one another.
    "coachstream.storage": (
        "coachstream.aws.credential_faults",
        "coachstream.conversation",
        "coachstream.conversation.prompt",
        "coachstream.private_files",
        "coachstream.sqlite_file",
    ),
    "coachstream.language": (
        "coachstream.aws.credential_faults",
        "coachstream.conversation",
        "coachstream.conversation.prompt",
        "coachstream.dated_facts",
    ),
    "coachstream.recall": (
        "coachstream.conversation",
        "coachstream.conversation.prompt.records",
        "coachstream.conversation.prompt.user",
        "coachstream.endpoint",
        "coachstream.sqlite_file",
    ),
    "coachstream.identity": (
        "coachstream.conversation",
        "coachstream.endpoint",
        "coachstream.freshness",
        "coachstream.private_files",
    ),
    "coachstream.hand_off": ("coachstream.aws.credential_faults", "coachstream.conversation"),
    # Around them.
    "coachstream.settings": (
        "coachstream.conversation.runs.settings",
        "coachstream.conversation.turn.settings",
        "coachstream.endpoint",
        "coachstream.time_zone",
    ),
    "coachstream.observability": (
        "coachstream.conversation",
        "coachstream.conversation.turn.report",
        "coachstream.settings",
    ),
    "coachstream.web": (
        "coachstream.conversation",
        "coachstream.conversation.runs.settings",
        "coachstream.time_zone",
        "lambda_streaming.function_url.event",
        "lambda_streaming.response_stream",
    ),
    "coachstream.services": (
        "coachstream.aws",
        "coachstream.conversation",
        "coachstream.conversation.runs.settings",
        "coachstream.conversation.turn",
        "coachstream.hand_off",
        "coachstream.identity",
        "coachstream.language",
        "coachstream.observability",
        "coachstream.recall",
        "coachstream.settings",
        "coachstream.storage",
    ),
    "coachstream.turns": (
        "coachstream.conversation",
        "coachstream.conversation.turn",
        "coachstream.services",
        "coachstream.settings.invocation",
    ),
    "coachstream.functions": (
        "coachstream.conversation",
        "coachstream.conversation.turn",
        "coachstream.hand_off.post_turn",
        "coachstream.observability",
        "coachstream.services",
        "coachstream.settings",
        "coachstream.turns",
        "coachstream.web",
        "lambda_streaming",
        "lambda_streaming.function_url.event",
    ),
    # Deploying.
    "coachstream.infrastructure.target": ("coachstream.dated_facts",),
    "coachstream.infrastructure.options": ("coachstream.endpoint", "coachstream.settings"),
    "coachstream.infrastructure.deploy_options": (
        "coachstream.infrastructure.options",
        "coachstream.settings",
    ),
    "coachstream.infrastructure": (
        "coachstream.conversation.errors",
        "coachstream.dated_facts",
        "coachstream.infrastructure.deploy_options",
        "coachstream.infrastructure.options",
        "coachstream.infrastructure.target",
        "coachstream.settings",
        "coachstream.storage.dynamodb.table",
        "coachstream.web.cross_origin",
        "lambda_streaming.function_url.cors",
    ),
    "coachstream.functions.coach_conversations.resource": ("coachstream.infrastructure",),
    "coachstream.functions.process_post_turn.resource": (
        "coachstream.infrastructure",
        "coachstream.settings",
    ),
    "coachstream.functions.send_coach_conversation_message.resource": ("coachstream.infrastructure",),
    "coachstream.functions.stream_coach_conversation.resource": ("coachstream.infrastructure",),
    "coachstream.deployment.toolkit": ("coachstream.dated_facts",),
    "coachstream.deployment": (
        "coachstream.functions.coach_conversations.resource",
        "coachstream.functions.process_post_turn.resource",
        "coachstream.functions.send_coach_conversation_message.resource",
        "coachstream.functions.stream_coach_conversation.resource",
        "coachstream.infrastructure",
        "coachstream.infrastructure.deploy_options",
        "coachstream.infrastructure.options",
        "coachstream.settings",
    ),
    "coachstream.package": ("coachstream.infrastructure.target", "lambda_streaming.packaging"),
    # On a developer's machine.
    "coachstream.reference": (
        "coachstream.conversation",
        "coachstream.conversation.runs.settings",
        "coachstream.functions",
        "coachstream.identity",
        "coachstream.settings.variables",
        "coachstream.time_zone",
        "coachstream.web",
    ),
    "coachstream.check": (
        "coachstream.aws",
        "coachstream.aws.credential_faults",
        "coachstream.conversation",
        "coachstream.conversation.prompt.prompt",
        "coachstream.dated_facts",
        "coachstream.deployment.toolkit",
        "coachstream.extras",
        "coachstream.identity",
        "coachstream.infrastructure",
        "coachstream.infrastructure.target",
        "coachstream.language",
        "coachstream.recall.pinecone",
        "coachstream.services",
        "coachstream.settings",
        "coachstream.sqlite_file",
        "coachstream.storage.dynamodb",
    ),
    "coachstream.local": (
        "coachstream.aws.clients",
        "coachstream.check.run",
        "coachstream.conversation",
        "coachstream.conversation.runs.exchange",
        "coachstream.conversation.turn.deadline",
        "coachstream.endpoint",
        "coachstream.extras",
        "coachstream.functions",
        "coachstream.identity.local_issuer",
        "coachstream.observability.redaction",
        "coachstream.private_files",
        "coachstream.recall",
        "coachstream.services",
        "coachstream.settings",
        "coachstream.web",
        "lambda_streaming.emulator",
        "lambda_streaming.function_url",
    ),
    "coachstream.cli": (
        "coachstream.aws.clients",
        "coachstream.check",
        "coachstream.deployment.toolkit",
        "coachstream.identity",
        "coachstream.infrastructure.deploy_options",
        "coachstream.infrastructure.options",
        "coachstream.infrastructure.target",
        "coachstream.local",
        "coachstream.package",
        "coachstream.settings",
        "lambda_streaming.emulator.command_line",
        "lambda_streaming.packaging",
    ),
}


#: Adapters of the same port, which must not import one another.
RIVALS = (
    ("coachstream.storage.sqlite", "coachstream.storage.dynamodb"),
    ("coachstream.language.demo", "coachstream.language.bedrock"),
    ("coachstream.recall.sqlite", "coachstream.recall.pinecone"),
    ("coachstream.identity.local_issuer", "coachstream.identity.cognito"),
)


#: Defines, packages and deploys the functions. It runs where you deploy from, never on Lambda.
BEFORE_RUN_TIME = (
    "coachstream.deployment",
    "coachstream.infrastructure",
    "coachstream.package",
    *(room for room in ROOMS if room.endswith(".resource")),
)

#: Modules that need neither the CDK nor its dependencies: commands run, and show their help, without it.
WITHOUT_CDK = (
    "coachstream.deployment.toolkit",
    "coachstream.infrastructure.deploy_options",
    "coachstream.infrastructure.drop_in",
    "coachstream.infrastructure.inference_profiles",
    "coachstream.infrastructure.options",
    "coachstream.infrastructure.package_contents",
    "coachstream.infrastructure.prices",
    "coachstream.infrastructure.quotas",
    "coachstream.infrastructure.target",
)

#: The rooms that may import it: the commands, and the check of the facts it is based on.
DEPLOYERS = ("coachstream.cli", "coachstream.check.facts")


def test_imports_go_one_way(modules: Mapping[str, frozenset[str]]) -> None:
    """Every module has a room and imports only what it may; every permission is used; there are no cycles."""
    assert list(problems(modules, ROOMS)) == []


ROOMS_OF_APP = {"app.domain": (), "app.web": ("app.domain",)}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"app.new": []}, "app.new is in no room"),
        ({"app.domain.turn": ["app.web.routes"]}, "app.domain.turn must not import app.web"),
        ({"app.web": []}, "app.web may import app.domain, and does not"),
        ({"app.domain.a": ["app.domain.b"], "app.domain.b": ["app.domain.a"]}, "a cycle: app.domain."),
        ({"app.domain": None}, "app.domain is a room without modules"),
    ],
    ids=["no-room", "against-the-direction", "unused-permission", "cycle", "empty-room"],
)
def test_each_way_to_break_the_rules_is_found(changed: dict[str, list[str] | None], problem: str) -> None:
    """Each case breaks one rule in an otherwise correct tree."""
    tree = {"app.domain": [], "app.web": ["app.domain.turn", "json"], **changed}
    found = list(problems({name: of for name, of in tree.items() if of is not None}, ROOMS_OF_APP))
    assert [each for each in found if each.startswith(problem)] != []


def test_a_tree_that_keeps_the_rules_has_no_problem() -> None:
    """This is the tree that the previous test breaks."""
    tree = {"app.domain": [], "app.web": ["app.domain.turn", "json"]}
    assert list(problems(tree, ROOMS_OF_APP)) == []


def test_code_that_runs_on_lambda_does_not_import_deployment_code(
    modules: Mapping[str, frozenset[str]],
) -> None:
    """Constructs, CDK and packaging are imported only in their own rooms."""
    for module, imports in modules.items():
        if any(is_within(module, room) for room in (*BEFORE_RUN_TIME, *DEPLOYERS)):
            continue
        for name in imports:
            rooms = (*BEFORE_RUN_TIME, "aws_cdk", "constructs")
            assert not any(is_within(name, room) for room in rooms), f"{module} imports {name}"


@pytest.mark.parametrize("module", WITHOUT_CDK)
def test_modules_declared_free_of_the_cdk_do_not_import_it(
    module: str, modules: Mapping[str, frozenset[str]]
) -> None:
    """They import it neither directly nor through a neighbouring module."""
    for name in modules[module]:
        assert name.split(".")[0] not in {"aws_cdk", "constructs", "jsii"}
        is_neighbour = any(
            is_within(name, room) for room in ("coachstream.deployment", "coachstream.infrastructure")
        )
        assert not is_neighbour or any(is_within(name, other) for other in WITHOUT_CDK), name


@pytest.mark.parametrize("rivals", RIVALS, ids=lambda rivals: rivals[0].split(".")[1])
def test_adapters_of_one_port_do_not_know_each_other(
    rivals: tuple[str, str], modules: Mapping[str, frozenset[str]]
) -> None:
    """Code that both need has its own room."""
    for one, other in (rivals, rivals[::-1]):
        within = [module for module in modules if is_within(module, one)]
        assert within
        for module in within:
            assert not any(is_within(name, other) for name in modules[module]), module


_INPUT_AND_OUTPUT = ("asyncio.streams", "socket", "http", "sqlite3", "subprocess", "urllib")


def test_the_domain_knows_only_the_standard_library_and_msgspec(
    modules: Mapping[str, frozenset[str]],
) -> None:
    """The domain uses no I/O library, no AWS and no HTTP."""
    domain = [module for module in modules if is_within(module, "coachstream.conversation")]
    assert domain
    for module in domain:
        roots = {name.split(".")[0] for name in modules[module]}
        assert roots <= {*sys.stdlib_module_names, "msgspec", "coachstream"}, module
        for name in modules[module]:
            assert not any(is_within(name, word) for word in _INPUT_AND_OUTPUT), f"{module} imports {name}"
