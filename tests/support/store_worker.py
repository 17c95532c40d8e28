"""A process that uses an SQLite store as it is told, line by line: `python -m support.store_worker FILE`.

Each command is answered by one line when its work is done; an error is answered by its code.

    seed                         a coach
    create CONVERSATION          a conversation
    begin CONVERSATION N [ID]    a turn: `claimed`, `answered` (an earlier reply is there), or the error
    reply N                      the reply of the last turn that began
    rename CONVERSATION TITLE
    use MEMORY N                 counts N uses of a memory
    turns CONVERSATION           whole turns for ever, a line `saved ID` after each
    fork FIFO                    a child that lives until it reads a byte there
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.model import ConversationChange, ConversationKey
from coachstream.conversation.ports import TurnClaim
from coachstream.storage.sqlite import SqliteStore
from contracts.conversation_store import COACH, KEY, NOW, conversation, reply_to, user_message


class Worker:
    def __init__(self, path: Path) -> None:
        self.store = SqliteStore(path)
        self.claim: TurnClaim | None = None

    async def obey(self, command: str, *arguments: str) -> str:
        match command, *arguments:
            case ["seed"]:
                await self.store.put_coach(KEY.user_id, KEY.coach_id, COACH)
            case ["create", name]:
                await self.store.create_conversation(conversation(self.key(name)))
            case ["begin", name, number, *client_id]:
                message = user_message(int(number), client_id=client_id[0] if client_id else None)
                self.claim = await self.store.begin_turn(self.key(name), message)
                return "claimed" if self.claim.reply is None else "answered"
            case ["reply", number]:
                assert self.claim is not None
                await self.store.save_reply(self.claim, reply_to(self.claim.user_message, int(number)))
            case ["rename", name, title]:
                await self.store.change_conversation(self.key(name), ConversationChange(title=title))
            case ["use", name, times]:
                for _ in range(int(times)):
                    await self.store.note_memories_used(KEY.user_id, [name], at=NOW)
            case ["turns", name]:
                await self.turns(self.key(name))
            case ["fork", fifo]:
                self.fork(fifo)
            case _:
                raise ValueError(command)
        return "done"

    async def turns(self, key: ConversationKey) -> None:
        number = 0
        while True:
            said = user_message(number)
            reply = reply_to(said, number + 1)
            await self.store.save_reply(await self.store.begin_turn(key, said), reply)
            say(f"saved {reply.id}")
            number += 2

    def fork(self, fifo: str) -> None:
        is_ready, ready = os.pipe()
        if os.fork() == 0:
            signal.alarm(60)
            # The parent's pipes would keep whoever waits for the parent's end waiting.
            os.closerange(0, 3)
            end = os.open(fifo, os.O_RDWR)
            os.write(ready, b"!")
            os.read(end, 1)
            os._exit(0)
        os.read(is_ready, 1)

    @staticmethod
    def key(name: str) -> ConversationKey:
        return ConversationKey(KEY.user_id, KEY.coach_id, name)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(path: Path) -> None:
    worker = Worker(path)
    say("ready")
    # Unbuffered, so that a forked child does not find what is the parent's to read.
    while line := await asyncio.to_thread(_line):
        try:
            say(await worker.obey(*line.split()))
        except CoachStreamError as error:
            say(error.code.value)
    await worker.store.aclose()


def _line() -> str:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            return ""
        line += byte
    return line.decode()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
