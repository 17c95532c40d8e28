"""Texts of third-party exceptions are never shown: they may quote a message, a record or a token."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.places import COACHSTREAM, SOURCES

SRC = COACHSTREAM / "src" / "coachstream"
MODULES = sorted(SRC.rglob("*.py"))

#: Functions that show their arguments. Others are checked where they are defined.
SHOWING = {"str", "repr", "print", "format", "echo", "secho", "fail", "join"}

#: Handlers that may show a third-party text, each with the reason why it is harmless.
HARMLESS = {
    ("cli/package.py", "ValueError"): "of our own `cognito_endpoint`, about the pool's id",
    ("identity/cognito.py", "ValueError"): "of our own `checked_endpoint`, about a setting",
    ("deployment/app.py", "REFUSALS"): "of our own rules and of CDK, about options of a deployment",
    ("infrastructure/options.py", "ValueError"): "of our own `normalized_origin`, about an option",
    (
        "local/backends.py",
        "BotoCoreError",
    ): "the SDK's words about its own configuration files, before anything runs",
    ("local/serve.py", "ValueError"): "of our own `normalized_origin`, about an option",
    ("recall/pinecone/options.py", "ValueError"): "of our own checks, about a setting; they hold no key",
    ("recall/sqlite.py", "OperationalError"): "compared, not shown",
    ("settings/kinds.py", "ValueError"): "of our own `checked_endpoint`, about a setting that is no secret",
}


def foreign_texts(path: Path, ours: frozenset[str]) -> Iterator[tuple[str, int]]:
    """The exception types and the line of each handler that uses the exception's own text."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler) or node.name is None:
            continue
        kinds = [part.id if isinstance(part, ast.Name) else part.attr for part in _kinds(node.type)]
        foreign = [kind for kind in kinds if kind not in ours]
        if foreign and _uses_text(node.body, node.name):
            yield " | ".join(foreign), node.lineno


def _kinds(node: ast.expr | None) -> Iterator[ast.Name | ast.Attribute]:
    match node:
        case ast.Name() | ast.Attribute():
            yield node
        case ast.Tuple(elts=parts):
            for part in parts:
                yield from _kinds(part)
        case ast.BinOp(left=left, right=right):
            yield from _kinds(left)
            yield from _kinds(right)


def _uses_text(body: list[ast.stmt], name: str) -> bool:
    """Whether the exception itself, not one of its attributes, goes into a text, a log or an error."""

    def is_it(node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == name

    for node in (each for statement in body for each in ast.walk(statement)):
        match node:
            case ast.FormattedValue(value=value) if is_it(value):
                return True
            case ast.Call(func=called, args=arguments) if any(map(is_it, arguments)):
                function = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
                is_class = function[:1].isupper()
                is_log = isinstance(called, ast.Attribute) and getattr(called.value, "id", "") == "logger"
                if function in SHOWING or is_class or is_log:
                    return True
            case ast.Attribute(value=value, attr="args") if is_it(value):
                return True
    return False


@cache
def our_exceptions() -> frozenset[str]:
    """The names of the project's own exceptions, whose texts it composes itself."""
    defined = {
        node.name
        for source in SOURCES
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    return frozenset(defined - set(dir(builtins)))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_no_text_of_a_third_party_exception_is_used(path: Path) -> None:
    """Only its type, its code or the place where it was raised may be shown."""
    module = str(path.relative_to(SRC))
    found = [
        f"{module}:{line}: {kinds}"
        for kinds, line in foreign_texts(path, our_exceptions())
        if (module, kinds) not in HARMLESS
    ]
    assert not found


def test_every_allowed_exception_to_the_rule_is_still_needed() -> None:
    """An entry that no handler needs any more must be removed."""
    used = {
        (str(path.relative_to(SRC)), kinds)
        for path in MODULES
        for kinds, _ in foreign_texts(path, our_exceptions())
    }
    assert used >= HARMLESS.keys()
