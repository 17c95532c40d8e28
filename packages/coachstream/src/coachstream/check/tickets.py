"""Tickets: is there a key for them?"""

from __future__ import annotations

import asyncio

from coachstream.check.report import Check, Trouble
from coachstream.check.secrets import secret_can_be_read
from coachstream.conversation.model import ConversationKey
from coachstream.identity.keys import KeysUnavailable
from coachstream.identity.ticket_keys import LocalKey
from coachstream.services import Services
from coachstream.settings import LocalTicketKey, Secret, SecretArn

_NOBODYS = ConversationKey("coachstream-check", "check", "check")


def tickets_check(services: Services) -> Check:
    """Where the key is, and how it is tried."""
    match services.settings.ticket_key:
        case Secret():
            return Check(
                part="tickets",
                choice="key",
                facts={"key": "set"},
                connect=lambda: _issue(services, "Look at COACHSTREAM_TICKET_KEY."),
                look=lambda: _issue(services, "Look at COACHSTREAM_TICKET_KEY."),
            )
        case SecretArn(arn=arn):
            return Check(
                part="tickets",
                choice="secret",
                facts={"key": arn},
                connect=lambda: _issue_with_secret(services, arn),
            )
        case LocalTicketKey(data_dir=data_dir):
            key = LocalKey(data_dir)
            return Check(
                part="tickets",
                choice="local",
                facts={"key": str(key.path)},
                connect=lambda: _issue_with_file(services, key),
                look=lambda: _issue_with_file(services, key),
            )
        case None:
            return Check(
                part="tickets",
                choice="off",
                facts={},
                off="Neither COACHSTREAM_TICKET_KEY nor COACHSTREAM_TICKET_KEY_SECRET_ARN is set: an "
                "EventSource cannot open replies.",
            )


async def _issue_with_secret(services: Services, arn: str) -> str:
    variable = "COACHSTREAM_TICKET_KEY_SECRET_ARN"
    await secret_can_be_read(services, arn, variable)
    return await _issue(services, f"Put a longer key into the secret that {variable} names.")


async def _issue_with_file(services: Services, key: LocalKey) -> str:
    if not await asyncio.to_thread(key.path.exists):
        return "The key will be made at the first use."
    return await _issue(services, "Delete it, and a new one is made.")


async def _issue(services: Services, remedy: str) -> str:
    try:
        ticket = await services.tickets.issue(_NOBODYS, "check")
        await services.tickets.verify(ticket, _NOBODYS, "check")
    except KeysUnavailable as error:
        raise Trouble(f"There can be no tickets: {error}.", remedy) from error
    return "Tickets are issued and verified."
