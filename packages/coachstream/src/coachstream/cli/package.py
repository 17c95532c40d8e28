"""`coachstream package`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coachstream.cli.shared import fail
from coachstream.package.build import MEGABYTE, ByteCode, Package, build, unpack
from coachstream.package.errors import PackageError
from coachstream.package.target import Cpu, Target, this_machine

if TYPE_CHECKING:
    from rich.console import Console

OUTPUT = Path("dist") / "coachstream.zip"
MOST_MB = 25.0
_DEFAULT = Target()
_MOST_COMPONENTS = 12


def package(
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The zip to write.", dir_okay=False)] = OUTPUT,
    python: Annotated[str, typer.Option(metavar="X.Y", help="Python of the runtime.")] = _DEFAULT.python,
    cpu: Annotated[Cpu, typer.Option(help="CPU of the functions.")] = _DEFAULT.cpu,
    here: Annotated[
        bool,
        typer.Option("--here", help="For this machine and this Python instead, to run it in the emulator."),
    ] = False,
    jwks_of: Annotated[
        str | None,
        typer.Option(
            metavar="POOL",
            help="Cognito user pool whose keys to package, so that a cold start need not fetch them.",
        ),
    ] = None,
    byte_code: Annotated[
        ByteCode,
        typer.Option(help="Precompile byte code for faster cold starts; needs that Python on this machine."),
    ] = ByteCode.AUTO,
    most_mb: Annotated[
        float, typer.Option(metavar="MB", min=1, max=250, help="Refuse to write a larger zip.")
    ] = MOST_MB,
    unpacked: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also unzip it into this new folder.", file_okay=False),
    ] = None,
) -> None:
    """Make the zip that Lambda runs, without Docker: the same input is the same zip."""
    make(
        output,
        target=_target(python, cpu, here=here),
        jwks_of=jwks_of,
        byte_code=byte_code,
        most_mb=most_mb,
        unpacked=unpacked,
    )


def make(
    output: Path = OUTPUT,
    *,
    target: Target = _DEFAULT,
    jwks_of: str | None = None,
    byte_code: ByteCode = ByteCode.AUTO,
    most_mb: float = MOST_MB,
    unpacked: Path | None = None,
) -> None:
    """Build the package and report on it; on failure, say why and exit with 1."""
    from rich.console import Console

    if output.parent != OUTPUT.parent and not output.parent.is_dir():
        fail(f"There is no folder {output.parent} to put {output.name} into.")
    if unpacked is not None and unpacked.exists():
        fail(f"{unpacked} is there already; it has to be a new folder.")
    keys = None if jwks_of is None else _keys_of(jwks_of)
    console = Console(stderr=True)
    try:
        with console.status("") as status:
            made = build(
                output,
                target=target,
                most_zipped=round(most_mb * MEGABYTE),
                byte_code=byte_code,
                keys=keys,
                tell=lambda step: status.update(f"{step} ..."),
            )
            if unpacked is not None:
                unpack(made.path, unpacked)
    except PackageError as problem:
        fail(str(problem))
    except OSError as problem:
        fail(f"{problem.filename or output} cannot be used: {problem.strerror}.")
    _show(made, Console())
    if not made.has_byte_code and byte_code is ByteCode.AUTO:
        console.print(
            f"There is no Python {target.python} on this machine to compile with, so each cold start will, "
            f"for half a second and more. [bold]uv python install {target.python}[/bold] gets one.",
            style="yellow",
        )


def _target(python: str, cpu: Cpu, *, here: bool) -> Target:
    if re.fullmatch(r"3\.\d+", python) is None:
        fail(f"Lambda's Pythons have names such as {_DEFAULT.python}, not {python}.")
    try:
        return this_machine() if here else Target(python, cpu)
    except PackageError as problem:
        fail(str(problem))


def _keys_of(pool: str) -> bytes:
    import asyncio

    from coachstream.identity.cognito import fetch_jwks
    from coachstream.identity.keys import KeysUnavailable

    try:
        return asyncio.run(fetch_jwks(pool))
    except (KeysUnavailable, ValueError) as problem:
        fail(f"The keys of the user pool {pool} cannot be had: {problem}")


def _show(made: Package, console: Console) -> None:
    from rich.table import Table

    table = Table("component", box=None, pad_edge=False)
    table.add_column("unzipped", justify="right")
    table.add_column("in the zip", justify="right")
    for component in made.components[:_MOST_COMPONENTS]:
        table.add_row(component.name, _mb(component.unzipped), _mb(component.zipped))
    if rest := made.components[_MOST_COMPONENTS:]:
        unzipped, zipped = sum(each.unzipped for each in rest), sum(each.zipped for each in rest)
        table.add_row(f"{len(rest)} more", _mb(unzipped), _mb(zipped))
    table.add_section()
    table.add_row("together", _mb(made.unzipped), _mb(made.zipped), style="bold")
    console.print(table)
    typer.echo(f"{made.path}, for {made.target}")
    typer.echo(f"sha256 {made.sha256}")


def _mb(size: int) -> str:
    return f"{size / MEGABYTE:.2f} MB"
