"""Every environment variable of the service, typed, in one place.

What a deployment must decide has no default: without an explicit store, model and identity nothing starts, so
that a forgotten variable never selects the demo model, the local issuer or a throw-away database. A backend
that is not selected needs no settings. All configuration errors are reported together.
"""

from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.settings.choices import (
    GuardrailMode,
    IdentityProvider,
    LogFormat,
    LogLevel,
    Model,
    Recall,
    Store,
)
from coachstream.settings.names import unknown_variables
from coachstream.settings.parts import (
    BedrockSettings,
    CognitoSettings,
    DemoModelSettings,
    DynamoDbSettings,
    Fallback,
    Guardrail,
    HandOffs,
    LocalIssuerSettings,
    LocalTicketKey,
    Logs,
    PineconeSettings,
    RecallOff,
    SqliteRecallSettings,
    SqliteStoreSettings,
    analysis_model,
)
from coachstream.settings.reader import SettingsError
from coachstream.settings.secret import Secret, SecretArn
from coachstream.settings.settings import Settings, read_region, read_table
from coachstream.settings.variables import VARIABLES, Variable

__all__ = [
    "VARIABLES",
    "BedrockSettings",
    "CognitoSettings",
    "DemoModelSettings",
    "DynamoDbSettings",
    "Fallback",
    "Guardrail",
    "GuardrailMode",
    "HandOffs",
    "IdentityProvider",
    "LocalIssuerSettings",
    "LocalTicketKey",
    "LogFormat",
    "LogLevel",
    "Logs",
    "Model",
    "PineconeSettings",
    "Recall",
    "RecallOff",
    "Secret",
    "SecretArn",
    "Settings",
    "SettingsError",
    "SqliteRecallSettings",
    "SqliteStoreSettings",
    "Store",
    "TurnPolicy",
    "Variable",
    "analysis_model",
    "read_region",
    "read_table",
    "unknown_variables",
]
