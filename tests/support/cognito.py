"""A user pool on moto's server, and users who sign in to it.

Moto's tokens differ from Cognito's in their headers and keys: `typ: JWT` is in the header, and every pool has
the same single key with the id `dummy`, while each Cognito pool has two keys. Issuer, audience, use, times
and attributes are like Cognito's; a token is valid for an hour whatever the client is configured for.
"""

from __future__ import annotations

from typing import Any

import botocore.session
import msgspec

REGION = "eu-central-1"
PASSWORD = "Str0ng-enough!"


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of a sign-in."""

    id: str
    access: str


class UserPool:
    """A new pool with the attribute `custom:user_id`, and one app client."""

    def __init__(self, url: str, region: str = REGION) -> None:
        """Create the pool on the server."""
        session: Any = botocore.session.Session()
        self._cognito = session.create_client(
            "cognito-idp",
            region_name=region,
            endpoint_url=url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        user_id = {"Name": "user_id", "AttributeDataType": "String", "Mutable": False}
        pool = self._cognito.create_user_pool(PoolName="coachstream", Schema=[user_id])
        self.id: str = pool["UserPool"]["Id"]
        self.region = region
        self.client_id = self.add_client()

    def add_client(self) -> str:
        """Create an app client and return its id."""
        client = self._cognito.create_user_pool_client(
            UserPoolId=self.id,
            ClientName="web",
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        )
        client_id: str = client["UserPoolClient"]["ClientId"]
        return client_id

    def add_user(self, name: str, user_id: str | None) -> None:
        """Create a user who can sign in; `user_id` is the application's user id."""
        attributes = [] if user_id is None else [{"Name": "custom:user_id", "Value": user_id}]
        self._cognito.admin_create_user(
            UserPoolId=self.id, Username=name, UserAttributes=attributes, MessageAction="SUPPRESS"
        )
        self._cognito.admin_set_user_password(
            UserPoolId=self.id, Username=name, Password=PASSWORD, Permanent=True
        )

    def sign_in(self, name: str, *, client_id: str | None = None) -> Tokens:
        """Sign a user in, as a browser does."""
        response = self._cognito.initiate_auth(
            ClientId=client_id or self.client_id,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )["AuthenticationResult"]
        return Tokens(response["IdToken"], response["AccessToken"])

    def close(self) -> None:
        """Close the connections."""
        self._cognito.close()
