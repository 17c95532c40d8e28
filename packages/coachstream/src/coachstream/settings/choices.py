"""What each part can be."""

from __future__ import annotations

from enum import StrEnum


class Store(StrEnum):
    """Where conversations are kept."""

    SQLITE = "sqlite"
    DYNAMODB = "dynamodb"


class Model(StrEnum):
    """Who writes the replies."""

    DEMO = "demo"
    BEDROCK = "bedrock"


class IdentityProvider(StrEnum):
    """Whose tokens are accepted."""

    LOCAL = "local"
    COGNITO = "cognito"


class Recall(StrEnum):
    """What searches earlier records by meaning."""

    SQLITE = "sqlite"
    PINECONE = "pinecone"
    OFF = "off"


class TurnPolicy(StrEnum):
    """What a message does while another one of its conversation is answered."""

    REJECT = "reject"
    INTERRUPT = "interrupt"


class LogLevel(StrEnum):
    """The least severe records that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How records are written."""

    JSON = "json"
    TEXT = "text"


Choice = Store | Model | IdentityProvider | Recall
"""What one of the parts is; a variable may belong to one of them."""
