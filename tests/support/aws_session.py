"""One session of the SDK for all tests of a process, so that it reads the descriptions of services once."""

from __future__ import annotations

from coachstream.aws.clients import AwsSession

SESSION = AwsSession()
"""Its credentials are those of the first test that opens a client; no server of the tests looks at them."""
