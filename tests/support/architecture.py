"""The rules for imports: which room may import which, and that there are no cycles.

A room is a package or a module with its own permissions. A module belongs to the room with the longest
name that fits.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Rooms = Mapping[str, Collection[str]]
"""The project's packages that each room may import, in addition to itself."""


def imports_of(source: str) -> frozenset[str]:
    """All imports of a module, including those for types only: modules, and the names imported from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError("a relative import hides the direction")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def modules_in(folder: Path) -> dict[str, frozenset[str]]:
    """The modules below a folder, each with its imports."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = imports_of(path.read_text())
    return found


def is_within(name: str, room: str) -> bool:
    """Whether a module belongs to a room, or a name to a module."""
    return name == room or name.startswith(f"{room}.")


def problems(modules: Mapping[str, Collection[str]], rooms: Rooms) -> Iterator[str]:
    """Every violation of the rules, one sentence each."""
    packages = {module.partition(".")[0] for module in modules}
    used: set[tuple[str, str]] = set()
    for module, imports in modules.items():
        room = _room(module, rooms)
        if room is None:
            yield f"{module} is in no room"
            continue
        for name in imports:
            imported = _module_of(name, modules) or name
            if name.partition(".")[0] not in packages or _room(imported, rooms) == room:
                continue
            allowed = max(
                (
                    other
                    for other in rooms[room]
                    # A room within the other one is another room.
                    if is_within(name, other) and _room(other, rooms) == _room(imported, rooms)
                ),
                key=len,
                default=None,
            )
            if allowed is None:
                yield f"{module} must not import {imported}: its room is {room}"
            else:
                used.add((room, allowed))
    for room, allowed_rooms in rooms.items():
        if not any(_room(module, rooms) == room for module in modules):
            yield f"{room} is a room without modules"
        for other in allowed_rooms:
            if (room, other) not in used:
                yield f"{room} may import {other}, and does not"
    yield from _cycles(modules)


def _room(name: str, rooms: Rooms) -> str | None:
    return max((room for room in rooms if is_within(name, room)), key=len, default=None)


def _cycles(modules: Mapping[str, Collection[str]]) -> Iterator[str]:
    """The first cycle, counting every kind of import."""
    graph = {
        module: {
            imported for name in imports if (imported := _module_of(name, modules)) not in {None, module}
        }
        for module, imports in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a cycle: {' -> '.join(error.args[1])}"


def _module_of(name: str, modules: Mapping[str, Collection[str]]) -> str | None:
    """The module of an import: the name itself, or the module that it is imported from."""
    if name in modules:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules else None
