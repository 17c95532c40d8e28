"""A new user pool."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cognito as cognito
from constructs import Construct

USER_ID = "user_id"
"""The application's id of a user; in tokens, the claim `custom:user_id`."""

_PASSWORD_LENGTH = 12


class Users(Construct):
    """A pool whose users an administrator creates, and an app client for browsers.

    Attributes:
        pool: the users, each with `custom:user_id`. The attribute is mutable, so that a user created without
            one (by another program's sign-up) can get it later; but only an administrator can set it.
        client: signs users in with SRP. It can read `custom:user_id`, which is therefore in ID tokens, but
            not write it: write access lets any user impersonate any other. The same applies to every other
            client of the pool: one created later, without a list of writable attributes, may write all.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.pool = cognito.UserPool(
            self,
            "Pool",
            self_sign_up_enabled=False,
            sign_in_aliases=cognito.SignInAliases(email=True),
            sign_in_case_sensitive=False,
            auto_verify=cognito.AutoVerifiedAttrs(email=True),
            standard_attributes=cognito.StandardAttributes(
                email=cognito.StandardAttribute(required=True, mutable=True)
            ),
            custom_attributes={USER_ID: cognito.StringAttribute(min_len=1, max_len=128, mutable=True)},
            password_policy=cognito.PasswordPolicy(min_length=_PASSWORD_LENGTH),
            mfa=cognito.Mfa.OPTIONAL,
            mfa_second_factor=cognito.MfaSecondFactor(sms=False, otp=True),
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        profile = cognito.ClientAttributes().with_standard_attributes(
            email=True, fullname=True, preferred_username=True
        )
        self.client = self.pool.add_client(
            "Web",
            # ADMIN_USER_PASSWORD_AUTH needs AWS credentials: operators use it to get a token.
            auth_flows=cognito.AuthFlow(user_srp=True, admin_user_password=True),
            disable_o_auth=True,
            prevent_user_existence_errors=True,
            enable_token_revocation=True,
            id_token_validity=Duration.hours(1),
            access_token_validity=Duration.hours(1),
            read_attributes=profile.with_custom_attributes(USER_ID),
            write_attributes=profile,
        )
