"""A process that executes commands on an SQLite store, line by line: `python -m support.store_worker FILE`.

Each command prints one line when it is done; an error prints its code.

    seed                             a coach
    create CONVERSATION              a conversation
    begin CONVERSATION N [ID [TEXT]] a run: `begun RUN`, `busy RUN` naming the unfinished run, or `answered`
    reply N                          ends the run that was begun last, with a reply
    append CONVERSATION RUN N        N entries, each under the next free number
    end CONVERSATION RUN NUMBER N    ends any run, with reply N to message 1: `done` or `taken`
    rename CONVERSATION TITLE
    use MEMORY N                     counts N uses of a memory
    runs CONVERSATION                complete runs forever, a line `saved ID` after each
    talk CONVERSATION                a run that never ends, a line `said NUMBER` after each entry
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.ids import run_id
from coachstream.conversation.model import ConversationChange, ConversationKey, Message
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from coachstream.storage.sqlite import SqliteStore
from contracts.store_records import (
    COACH,
    KEY,
    NOW,
    begin,
    conversation,
    ended,
    opened,
    reply_to,
    said,
    store_reply,
    user_message,
)


class Worker:
    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path)
        self.writer = secrets.token_hex(8)
        self.begun: tuple[ConversationKey, str, Message] | None = None
        self.commands: dict[str, Callable[..., Awaitable[str | None]]] = {
            "seed": self.seed,
            "create": self.create,
            "begin": self.begin,
            "reply": self.reply,
            "append": self.append,
            "end": self.end,
            "rename": self.rename,
            "use": self.use,
            "runs": self.runs,
            "talk": self.talk,
        }

    async def obey(self, command: str, *arguments: str) -> str:
        return await self.commands[command](*arguments) or "done"

    async def seed(self) -> None:
        await self.store.put_coach(KEY.user_id, KEY.coach_id, COACH)

    async def create(self, name: str) -> None:
        await self.store.create_conversation(conversation(key_of(name)))

    async def begin(
        self, name: str, number: str, client_id: str | None = None, text: str = "How was it?"
    ) -> str:
        run = run_id(NOW, secrets.randbelow)
        message = user_message(int(number), text, client_id=client_id)
        match await self.store.begin_run(key_of(name), message, run, opened(writer=self.writer)):
            case RunBegun(stored):
                self.begun = key_of(name), run, stored
                return f"begun {run}"
            case ConversationBusy(other):
                return f"busy {other}"
            case AlreadyAnswered():
                return "answered"

    async def reply(self, number: str) -> str:
        assert self.begun is not None
        key, run, message = self.begun
        return await self.finish(key, run, 1, reply_to(message, int(number)))

    async def end(self, name: str, run: str, at: str, number: str) -> str:
        return await self.finish(key_of(name), run, int(at), reply_to(user_message(1), int(number)))

    async def finish(self, key: ConversationKey, run: str, number: int, reply: Message) -> str:
        there = await self.store.finish_run(key, run, ended(number, reply, writer=self.writer), reply)
        return "done" if there is None else "taken"

    async def append(self, name: str, run: str, times: str) -> None:
        number = 0
        for _ in range(int(times)):
            while await self.store.append(key_of(name), run, said(number, writer=self.writer)) is not None:
                number += 1
            number += 1

    async def rename(self, name: str, title: str) -> None:
        await self.store.change_conversation(key_of(name), ConversationChange(title=title))

    async def use(self, name: str, times: str) -> None:
        for _ in range(int(times)):
            await self.store.note_memories_used(KEY.user_id, [name], at=NOW)

    async def runs(self, name: str) -> None:
        for number in itertools.count(0, 2):
            message = user_message(number)
            reply = reply_to(message, number + 1)
            await store_reply(self.store, message, reply, key=key_of(name))
            say(f"saved {reply.id}")

    async def talk(self, name: str) -> None:
        run = run_id(NOW, secrets.randbelow)
        await begin(self.store, user_message(1, client_id="c-1"), run, key=key_of(name))
        for number in itertools.count(1):
            assert await self.store.append(key_of(name), run, said(number, f"{number} ")) is None
            say(f"said {number}")


def key_of(name: str) -> ConversationKey:
    return ConversationKey(KEY.user_id, KEY.coach_id, name)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(path: Path) -> None:
    worker = Worker(path)
    say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            say(await worker.obey(*line.split()))
        except CoachStreamError as error:
            say(error.code.value)
    await worker.store.aclose()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
