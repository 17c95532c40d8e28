"""Validation rules for deployment options; needs no CDK."""

from __future__ import annotations

import re

import msgspec

from coachstream.endpoint import normalized_origin

ANY_ORIGIN = "*"


class WholeNumber(msgspec.Struct, frozen=True):
    """A whole number from `least` to `most`."""

    least: int
    most: int

    def problem_of(self, text: str) -> str | None:
        """What is wrong with a text, if anything."""
        if text.isascii() and text.isdecimal() and self.least <= int(text) <= self.most:
            return None
        return f"must be a whole number from {self.least} to {self.most}, not {text!r}"


class OneOf(msgspec.Struct, frozen=True):
    """One of several texts."""

    texts: tuple[str, ...]

    def problem_of(self, text: str) -> str | None:
        """What is wrong with a text, if anything."""
        *most, last = self.texts
        return None if text in self.texts else f"must be {', '.join(most)} or {last}, not {text!r}"


class Matching(msgspec.Struct, frozen=True):
    """A text that matches a pattern; `form` describes it, with an article."""

    pattern: str
    form: str

    def problem_of(self, text: str) -> str | None:
        """What is wrong with a text, if anything."""
        return None if re.fullmatch(self.pattern, text) else f"must be {self.form}, not {text!r}"


class Origin(msgspec.Struct, frozen=True):
    """The origin of a page, or `*`."""

    def problem_of(self, text: str) -> str | None:
        """What is wrong with a text, if anything."""
        if text != ANY_ORIGIN:
            try:
                normalized_origin(text)
            except ValueError as error:
                return f"cannot be used: {error}"
        return None


Rule = WholeNumber | OneOf | Matching | Origin

# Secrets Manager, KMS, SNS and CloudFormation API references. Without the last six characters of a secret's
# ARN, a policy would allow another secret, or none.
SECRET_ARN = Matching(
    r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+-[A-Za-z0-9]{6}",
    "the full ARN of a secret, as shown in the console",
)
KEY_ARN = Matching(
    r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+", "the ARN of a KMS key (not of an alias)"
)
TOPIC_ARN = Matching(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}", "the ARN of an SNS topic")
STACK_NAME = Matching(r"[A-Za-z][A-Za-z0-9-]{0,127}", "a letter, then letters, digits and dashes")
