"""How `ampx` reports a backend that must not be deployed."""

from __future__ import annotations

from collections.abc import Callable

from support.amplify import Apps

RefusalOf = Callable[[str], str]


def test_users_who_can_write_their_own_id_are_refused(refusal_of: RefusalOf) -> None:
    """Amplify's default client allows it, and a user who can write the id can impersonate any other."""
    refusal = refusal_of("careless")
    assert "users can write custom:user_id themselves" in refusal
    assert "cfnUserPoolClient.writeAttributes" in refusal


def test_a_missing_package_is_reported(apps: Apps, refusal_of: RefusalOf) -> None:
    """The error says how to build one."""
    refusal = refusal_of("unpackaged")
    assert "Failed to instantiate custom function provider" in refusal
    function = apps.backend("unpackaged").parent / "functions" / "stream-coach-conversation"
    assert f"there is no package at {function}/coachstream.zip; `coachstream package` builds one" in refusal
