"""The options that select the backends, shared by several commands."""

from __future__ import annotations

from typing import Annotated

import typer

from coachstream.settings import IdentityProvider, Model, Recall, Store

StoreOption = Annotated[
    Store | None, typer.Option("--store", help="Where conversations are stored; sqlite by default.")
]
TableOption = Annotated[str | None, typer.Option("--table", metavar="T", help="Table for --store dynamodb.")]
ModelOption = Annotated[
    Model | None, typer.Option("--model", help="Model that generates the replies; demo by default.")
]
ModelIdOption = Annotated[
    str | None, typer.Option("--model-id", metavar="ID", help="Model id for --model bedrock.")
]
RecallOption = Annotated[
    Recall | None, typer.Option("--recall", help="Semantic search backend; sqlite by default.")
]
IdentityOption = Annotated[
    IdentityProvider | None,
    typer.Option("--identity", help="Issuer of the accepted tokens; local by default."),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="AWS region; by default AWS_REGION, or the region in the shared configuration.",
    ),
]
