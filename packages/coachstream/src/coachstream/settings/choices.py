"""The choices for each backend."""

from __future__ import annotations

from enum import StrEnum


class Store(StrEnum):
    """Where conversations are stored."""

    SQLITE = "sqlite"
    DYNAMODB = "dynamodb"


class Model(StrEnum):
    """What generates the replies."""

    DEMO = "demo"
    BEDROCK = "bedrock"


class IdentityProvider(StrEnum):
    """The issuer of the accepted tokens."""

    LOCAL = "local"
    COGNITO = "cognito"


class Recall(StrEnum):
    """The semantic search backend."""

    SQLITE = "sqlite"
    PINECONE = "pinecone"
    OFF = "off"


class GuardrailMode(StrEnum):
    """What happens to a reply that the guardrail flags, or whose message it flags."""

    BLOCK = "block"
    WARN = "warn"


class LogLevel(StrEnum):
    """The minimum level of logged records."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The format of log records."""

    JSON = "json"
    TEXT = "text"


Choice = Store | Model | IdentityProvider | Recall
"""The choice of a backend, to which a variable may apply."""
