"""A user pool for those who have none yet."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cognito as cognito
from constructs import Construct

USER_ID = "user_id"
"""The application's own id of a user; in tokens it is the claim `custom:user_id`."""

_PASSWORD_LENGTH = 12


class Users(Construct):
    """A pool whose users an administrator makes, and an app client for browsers.

    Attributes:
        pool: the users, each with `custom:user_id`. It can be changed, so that a user who was made without
            one (by another program's sign-up) gets it later; but only by an administrator.
        client: signs them in with SRP. It reads `custom:user_id`, which so gets into ID tokens, and cannot
            write it: whoever could, could become anybody. That holds for every other client of the pool too:
            one that is made later, and not told what it may write, may write everything.
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
            # ADMIN_USER_PASSWORD_AUTH needs credentials of AWS: an operator gets a token with it.
            auth_flows=cognito.AuthFlow(user_srp=True, admin_user_password=True),
            disable_o_auth=True,
            prevent_user_existence_errors=True,
            enable_token_revocation=True,
            id_token_validity=Duration.hours(1),
            access_token_validity=Duration.hours(1),
            read_attributes=profile.with_custom_attributes(USER_ID),
            write_attributes=profile,
        )
