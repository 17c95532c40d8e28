"""`coachstream package`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coachstream.cli.shared import fail
from coachstream.infrastructure.target import ARCHITECTURE, PYTHON
from coachstream.package.build import Package, build
from lambda_streaming.packaging.archive import unpack
from lambda_streaming.packaging.byte_code import ByteCode
from lambda_streaming.packaging.errors import PackageError
from lambda_streaming.packaging.sizes import MEGABYTE
from lambda_streaming.packaging.target import Cpu, Target, this_machine

if TYPE_CHECKING:
    from rich.console import Console

OUTPUT = Path("dist") / "coachstream.zip"
MOST_MB = 25.0
_DEFAULT = Target(PYTHON, Cpu(ARCHITECTURE))
_MOST_COMPONENTS = 12


def package(
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Zip file to write.", dir_okay=False)] = OUTPUT,
    python: Annotated[
        str, typer.Option(metavar="X.Y", help="Python version of the runtime.")
    ] = _DEFAULT.python,
    cpu: Annotated[Cpu, typer.Option(help="CPU architecture of the functions.")] = _DEFAULT.cpu,
    here: Annotated[
        bool,
        typer.Option("--here", help="Build for this machine and this Python, to run in the emulator."),
    ] = False,
    jwks_of: Annotated[
        str | None,
        typer.Option(
            metavar="POOL",
            help="Cognito user pool whose keys to package, so that cold starts need not fetch them.",
        ),
    ] = None,
    byte_code: Annotated[
        ByteCode,
        typer.Option(
            help="Precompile byte code for faster cold starts; needs that Python version installed."
        ),
    ] = ByteCode.AUTO,
    most_mb: Annotated[
        float, typer.Option(metavar="MB", min=1, max=250, help="Fail if the zip is larger.")
    ] = MOST_MB,
    unpacked: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also unzip it into this folder, which must not exist.", file_okay=False
        ),
    ] = None,
) -> None:
    """Build the zip file for Lambda, without Docker and reproducibly: same input, same zip."""
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
    """Build the package and print its contents; on failure, print the reason and exit with 1."""
    from rich.console import Console

    if output.parent != OUTPUT.parent and not output.parent.is_dir():
        fail(f"The folder {output.parent} for {output.name} does not exist.")
    if unpacked is not None and unpacked.exists():
        fail(f"{unpacked} already exists; it has to be a new folder.")
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
                on_step=lambda step: status.update(f"{step} ..."),
            )
            if unpacked is not None:
                unpack(made.path, unpacked)
    except PackageError as problem:
        fail(str(problem))
    except OSError as problem:
        fail(f"Cannot use {problem.filename or output}: {problem.strerror}.")
    _show(made, Console())
    if not made.has_byte_code and byte_code is ByteCode.AUTO:
        console.print(
            f"Python {target.python} is not installed here, so the package has no byte code: each cold start "
            f"compiles it, which takes half a second or more. Install it with "
            f"[bold]uv python install {target.python}[/bold].",
            style="yellow",
        )


def _target(python: str, cpu: Cpu, *, here: bool) -> Target:
    if re.fullmatch(r"3\.\d+", python) is None:
        fail(f"{python} is not a Python version like {_DEFAULT.python}.")
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
        fail(f"Cannot fetch the keys of the user pool {pool}: {problem}")


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
