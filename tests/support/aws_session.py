"""One SDK session for all tests of a process, so that it loads the service descriptions once."""

from __future__ import annotations

from coachstream.aws.clients import AwsSession

SESSION = AwsSession()
"""Its credentials are those of the first test that opens a client; no server of the tests looks at them."""
