"""What `ampx` says of a backend that should not be deployed."""

from __future__ import annotations

from collections.abc import Callable

from support.amplify import Apps

RefusalOf = Callable[[str], str]


def test_users_who_can_write_their_own_id_are_refused(refusal_of: RefusalOf) -> None:
    """Amplify's own client lets them, and a user who can write the id can impersonate any other."""
    refusal = refusal_of("careless")
    assert "users can write custom:user_id themselves" in refusal
    assert "cfnUserPoolClient.writeAttributes" in refusal


def test_a_package_that_was_not_made_is_missed(apps: Apps, refusal_of: RefusalOf) -> None:
    """The error says how to make one."""
    refusal = refusal_of("unpackaged")
    assert "Failed to instantiate custom function provider" in refusal
    function = apps.backend("unpackaged").parent / "functions" / "stream-coach-conversation"
    assert f"there is no package at {function}/coachstream.zip; `coachstream package` builds one" in refusal
