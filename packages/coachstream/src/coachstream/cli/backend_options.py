"""The options that name the parts of the service, for every command that takes them."""

from __future__ import annotations

from typing import Annotated

import typer

from coachstream.settings import IdentityProvider, Model, Recall, Store

StoreOption = Annotated[
    Store | None, typer.Option("--store", help="Where conversations are kept; sqlite by default.")
]
TableOption = Annotated[str | None, typer.Option("--table", metavar="T", help="Table of --store dynamodb.")]
ModelOption = Annotated[
    Model | None, typer.Option("--model", help="What writes the replies; demo by default.")
]
ModelIdOption = Annotated[
    str | None, typer.Option("--model-id", metavar="ID", help="Model of --model bedrock.")
]
RecallOption = Annotated[
    Recall | None, typer.Option("--recall", help="Semantic search backend; sqlite by default.")
]
IdentityOption = Annotated[
    IdentityProvider | None,
    typer.Option("--identity", help="Whose tokens are accepted; local by default."),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="AWS region; by default AWS_REGION, or that of the shared configuration.",
    ),
]
