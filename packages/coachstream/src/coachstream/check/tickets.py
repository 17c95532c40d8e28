"""Tickets: is there a key?"""

from __future__ import annotations

import asyncio

from coachstream.check.report import Check, Trouble
from coachstream.check.secrets import secret_can_be_read
from coachstream.conversation.model import ConversationKey
from coachstream.identity.keys import KeysUnavailable
from coachstream.identity.ticket_keys import LocalKey
from coachstream.services import Services
from coachstream.settings import LocalTicketKey, Secret, SecretArn

_CHECK_KEY = ConversationKey("coachstream-check", "check", "check")


def tickets_check(services: Services) -> Check:
    """Return the configuration and its checks."""
    match services.settings.ticket_key:
        case Secret():
            return Check(
                part="tickets",
                choice="key",
                facts={"key": "set"},
                connect=lambda: _issue(services, "Check COACHSTREAM_TICKET_KEY."),
                look=lambda: _issue(services, "Check COACHSTREAM_TICKET_KEY."),
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
    return await _issue(services, f"Store a longer key in the secret of {variable}.")


async def _issue_with_file(services: Services, key: LocalKey) -> str:
    if not await asyncio.to_thread(key.path.exists):
        return "The key will be created at the first use."
    return await _issue(services, "Delete it; a new one is created.")


async def _issue(services: Services, remedy: str) -> str:
    try:
        ticket = await services.tickets.issue(_CHECK_KEY, "check")
        await services.tickets.verify(ticket, _CHECK_KEY, "check")
    except KeysUnavailable as error:
        raise Trouble(f"Tickets cannot be issued: {error}.", remedy) from error
    return "Tickets are issued and verified."
