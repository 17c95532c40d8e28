"""Stateful doubles of the ports: tests can inspect the stored data, and inject failures."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from coachstream.conversation.another_try import (
    MOST_VERSIONS,
    AnotherTry,
    TryRequest,
    Version,
    last_exchange,
    replacing,
    surplus,
    surroundings_of,
    versions_of,
)
from coachstream.conversation.errors import (
    CoachConfigNotFound,
    CoachStreamError,
    ConversationNotFound,
    IdempotencyMismatch,
    InvalidCursor,
    MessageWithdrawn,
    NotTheLastExchange,
    RunNotFound,
    TryInProgress,
)
from coachstream.conversation.ids import first_message_id, id_after, moment_of, time_in
from coachstream.conversation.model import (
    Conversation,
    ConversationChange,
    ConversationKey,
    Identity,
    Memory,
    Message,
    Role,
    StopReason,
    Workout,
)
from coachstream.conversation.ports import ModelEvent, ModelStop, NewSummary, TextDelta
from coachstream.conversation.prompt.coach import CoachConfig, parse_coach_config, parse_memory, parse_workout
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.prompt.user import (
    ConversationSummary,
    UserProfile,
    parse_conversation_summary,
    parse_user_profile,
)
from coachstream.conversation.quotas import (
    UNLIMITED,
    OwnLimits,
    QuotaLimits,
    QuotaUse,
    Spent,
    day_of,
    holds_a_place,
    minute_of,
)
from coachstream.conversation.run_log import Broken, Finished, LogEntry
from coachstream.conversation.run_queue import QueuedRun, RunQueue, place_behind
from coachstream.conversation.run_store import (
    AlreadyAnswered,
    ConversationBusy,
    QueueIsFull,
    RunBegun,
    RunQueued,
)
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.conversation.user_data import MEMORY, PAGE_RECORDS, RecordPage, UserRecord
from coachstream.storage.idempotency import require_same_text
from coachstream.storage.log_entries import as_begun, as_stored, continuing, is_repeated, opened_at
from coachstream.storage.memory_ranking import most_important
from coachstream.storage.summary_attributes import summary_attributes


class KnownTokens:
    """A verifier with a fixed mapping from tokens to identities or errors."""

    def __init__(self, tokens: dict[str, Identity | CoachStreamError]) -> None:
        self.tokens = tokens

    async def verify(self, token: str) -> Identity:
        known = self.tokens[token]
        if isinstance(known, CoachStreamError):
            raise known
        return known

    async def authenticate_provisionally(self, token: str) -> Identity:
        return await self.verify(token)


_POSITION = "double:"


class RememberedConversations:
    """A complete in-memory store that fulfils the store contract and counts its calls.

    While `failure` is set, every operation raises it. `coaches` are keyed by user id and coach id.
    """

    def __init__(self, *coaches: tuple[str, str]) -> None:
        self.coaches: dict[tuple[str, str], Mapping[str, object]] = {
            names: {"coach_name": names[1].title()} for names in coaches
        }
        self.conversations: dict[ConversationKey, Conversation] = {}
        self.messages: dict[ConversationKey, list[Message]] = {}
        self.operations = 0
        self.failure: Exception | None = None
        self._memories: dict[tuple[str, str], Memory] = {}
        self._workouts: dict[tuple[str, str], Workout] = {}
        self._profiles: dict[str, UserProfile] = {}
        self._summaries: dict[ConversationKey, ConversationSummary] = {}
        self._unfinished: dict[ConversationKey, str] = {}
        self._queues: defaultdict[ConversationKey, list[QueuedRun]] = defaultdict(list)
        self._withdrawn: set[tuple[ConversationKey, str | None]] = set()
        self._own_limits: dict[str, OwnLimits] = {}
        self._turns: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._tokens: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._logs: defaultdict[tuple[ConversationKey, str], dict[int, LogEntry]] = defaultdict(dict)
        self._older: defaultdict[ConversationKey, list[Message]] = defaultdict(list)
        self._pending: defaultdict[ConversationKey, list[Message]] = defaultdict(list)
        self._tries: defaultdict[ConversationKey, dict[str, tuple[TryRequest, str, str]]] = defaultdict(dict)

    @property
    def claims(self) -> set[ConversationKey]:
        """Conversations that have an unfinished run."""
        return set(self._unfinished)

    async def put_coach(self, user_id: str, coach_id: str, attributes: Mapping[str, object]) -> None:
        self.coaches[user_id, coach_id] = attributes

    async def put_memory(self, user_id: str, memory_id: str, attributes: Mapping[str, object]) -> None:
        self._memories[user_id, memory_id] = msgspec.structs.replace(parse_memory(attributes), id=memory_id)

    async def put_workout(self, user_id: str, workout_id: str, attributes: Mapping[str, object]) -> None:
        self._workouts[user_id, workout_id] = parse_workout(attributes)

    async def put_profile(self, user_id: str, attributes: Mapping[str, object]) -> None:
        self._profiles[user_id] = parse_user_profile(attributes)

    async def put_summary(self, key: ConversationKey, attributes: Mapping[str, object]) -> None:
        self._summaries[key] = parse_conversation_summary(attributes)

    async def create_conversation(self, conversation: Conversation) -> None:
        self._begin()
        if (conversation.key.user_id, conversation.key.coach_id) not in self.coaches:
            raise CoachConfigNotFound
        if self.conversations.setdefault(conversation.key, conversation) is conversation:
            self.messages[conversation.key] = []

    async def list_conversations(self, user_id: str, coach_id: str) -> Sequence[Conversation]:
        self._begin()
        own = [
            c for c in self.conversations.values() if (c.key.user_id, c.key.coach_id) == (user_id, coach_id)
        ]
        return sorted(own, key=lambda conversation: conversation.last_activity, reverse=True)

    async def get_conversation(self, key: ConversationKey) -> Conversation:
        self._begin()
        return self._find(key)

    async def load_messages(self, key: ConversationKey) -> Sequence[Message]:
        self._begin()
        return list(self.messages.get(key, []))

    async def load_newest(
        self, key: ConversationKey, *, limit: int, before: str | None = None
    ) -> Sequence[Message]:
        self._begin()
        messages = self.messages.get(key, [])
        return [each for each in messages if before is None or each.id < before][-limit:]

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        self._begin()
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
        changed = self.conversations[key] = msgspec.structs.replace(self._find(key), **changes)
        return changed

    async def replace_default_title(self, key: ConversationKey, title: str) -> bool:
        self._begin()
        stored = self.conversations.get(key)
        if stored is None or stored.title != DEFAULT_TITLE:
            return False
        self.conversations[key] = msgspec.structs.replace(stored, title=title)
        return True

    async def save_summary(self, key: ConversationKey, summary: NewSummary) -> bool:
        self._begin()
        self._find(key)
        stored = self._summaries.get(key)
        if stored is not None and not summary.is_newer_than(stored):
            return False
        await self.put_summary(key, summary_attributes(key, summary))
        return True

    async def delete_conversation(self, key: ConversationKey) -> None:
        self._begin()
        self._find(key)
        del self.conversations[key], self.messages[key]
        self._summaries.pop(key, None)
        self._unfinished.pop(key, None)
        self._queues.pop(key, None)
        self._withdrawn = {each for each in self._withdrawn if each[0] != key}
        for older in (self._older, self._pending, self._tries):
            older.pop(key, None)
        for log in [log for log in self._logs if log[0] == key]:
            del self._logs[log]

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        self._begin()
        self._find(key)
        known = self._known(key, user_message)
        if not known and user_message.metadata.client_message_id in self._tries[key]:
            raise IdempotencyMismatch
        replaced = [] if known else self._known(key, user_message, self._older[key])
        for stored in (*known, *replaced):
            require_same_text(stored, user_message)
        for stored in replaced:
            replies = [each for each in self._older[key] if each.metadata.reply_to == stored.id]
            if all(each.is_interrupted for each in replies):
                raise NotTheLastExchange
            return AlreadyAnswered(stored, next(each for each in replies if not each.is_interrupted))
        for reply in self.messages[key]:
            if known and reply.metadata.reply_to == known[0].id and not reply.is_interrupted:
                return AlreadyAnswered(known[0], reply)
        queue = self._queue(key)
        if queue.first_run_id is not None:
            return ConversationBusy(queue.first_run_id, known[0] if known else None, queue.queued)
        if quotas.is_on:
            at = opened_at(opened)
            self._use(key.user_id, quotas, at).check()
            self._turns[key.user_id, minute_of(at)] += 1
        message = known[0] if known else self._save_new(key, user_message)
        first = as_stored(opened, message.id, is_first_attempt=not known, newest_id=self._newest_id(key))
        self._unfinished[key] = run_id
        self._logs[key, run_id] = {0: first}
        return RunBegun(message, is_first_attempt=not known, at=opened_at(first))

    async def save_waiting_message(
        self, key: ConversationKey, user_message: Message, run_id: str
    ) -> Message | None:
        self._begin()
        self._find(key)
        if self._queue(key).first_run_id != run_id:
            return None
        known = self._known(key, user_message)
        for stored in known:
            require_same_text(stored, user_message)
        return known[0] if known else self._save_waiting(key, user_message)

    async def enqueue_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        *,
        behind: str,
        most: int,
        time_zone: str | None = None,
    ) -> RunQueued | QueueIsFull | None:
        self._begin()
        self._find(key)
        known = self._known(key, user_message)
        for stored in known:
            require_same_text(stored, user_message)
            found = self._queue(key).run_of(stored.id)
            if found is not None:
                return RunQueued(stored, found)
        if self._queue(key).first_run_id != behind:
            return None
        if len(self._queues[key]) >= most:
            return QueueIsFull()
        at = self._newest_time(key) + 2
        message = known[0] if known else self._save_waiting(key, user_message)
        run = QueuedRun(run_id, message.id, at if known else time_in(message.id) or at, not known, time_zone)
        self._queues[key].append(run)
        return RunQueued(message, run)

    async def begin_queued(
        self, key: ConversationKey, run_id: str, opened: LogEntry, quotas: QuotaLimits = UNLIMITED
    ) -> RunBegun | None:
        self._begin()
        self._find(key)
        queue = self._queue(key)
        if queue.run_id is not None or queue.position_of(run_id) != 1:
            return None
        run = queue.queued[0]
        found = [message for message in self.messages[key] if message.id == run.user_message_id]
        if not found:
            raise MessageWithdrawn
        if quotas.is_on:
            at = opened_at(opened)
            self._use(key.user_id, quotas, at).check()
            self._turns[key.user_id, minute_of(at)] += 1
        self._queues[key].pop(0)
        self._unfinished[key] = run_id
        self._logs[key, run_id] = {0: as_begun(opened, run)}
        return RunBegun(found[0], run.is_first_attempt, run.at)

    async def leave_queue(
        self, key: ConversationKey, run_id: str, ended: LogEntry, *, is_withdrawn: bool
    ) -> bool:
        self._begin()
        self._find(key)
        position = self._queue(key).position_of(run_id)
        if position is None:
            return False
        run = self._queues[key].pop(position - 1)
        self._logs[key, run_id] = {ended.number: ended}
        if is_withdrawn:
            self._withdraw(key, run.user_message_id)
        return True

    def _withdraw(self, key: ConversationKey, message_id: str) -> None:
        if any(message.metadata.reply_to == message_id for message in self.messages[key]):
            return
        for message in [message for message in self.messages[key] if message.id == message_id]:
            self._withdrawn.add((key, message.metadata.client_message_id))
            kept = [each for each in self.messages[key] if each.id != message_id]
            self._replace_messages(key, kept, message)

    async def read_queue(self, key: ConversationKey) -> RunQueue:
        self._begin()
        return self._queue(key)

    def _queue(self, key: ConversationKey) -> RunQueue:
        return RunQueue(self._unfinished.get(key), tuple(self._queues.get(key, ())))

    def _newest_time(self, key: ConversationKey) -> int:
        times = [time_in(message.id) or 0 for message in self._all(key)]
        times += [run.at for run in self._queues[key]]
        unfinished = self._unfinished.get(key)
        if unfinished is not None:
            times.append(opened_at(self._logs[key, unfinished][0]))
        return max([0, *times])

    def _save_waiting(self, key: ConversationKey, message: Message) -> Message:
        newest = first_message_id(moment_of(self._newest_time(key)))
        return self._save_new(key, msgspec.structs.replace(message, id=place_behind(message.id, newest)))

    async def begin_try(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        self._begin()
        self._find(key)
        stored = self._earlier_try(key, request, user_message)
        if isinstance(stored, AlreadyAnswered | ConversationBusy):
            return stored
        queue = self._queue(key)
        if queue.first_run_id is not None:
            return ConversationBusy(queue.first_run_id, None, queue.queued)
        last = last_exchange(self.messages[key])
        another = request.begin(last)
        assert last is not None
        if quotas.is_on:
            at = opened_at(opened)
            self._use(key.user_id, quotas, at).check()
            self._turns[key.user_id, minute_of(at)] += 1
        message = stored or last.user_message
        if stored is None and user_message is not None:
            message = replacing(user_message, last.user_message, self._newest_id(key))
            self._pending[key].append(message)
        first = as_stored(
            *(opened, message.id),
            is_first_attempt=False,
            newest_id=self._newest_id(key),
            another_try=another,
        )
        said = last.reply.content if another.continued_id and last.reply else ""
        self._tries[key][request.client_message_id] = (request, run_id, message.id)
        self._unfinished[key] = run_id
        self._logs[key, run_id] = {each.number: each for each in (first, *continuing(first, said))}
        return RunBegun(message, False, opened_at(first), another, said)

    def _earlier_try(
        self, key: ConversationKey, request: TryRequest, user_message: Message | None
    ) -> Message | AlreadyAnswered | ConversationBusy | None:
        unfinished = self._unfinished.get(key)
        tried = self._tries[key].get(request.client_message_id)
        stored: Message | None = None
        if tried is not None:
            if tried[0] != request:
                raise IdempotencyMismatch
            stored = self._message(key, tried[2])
            if stored is not None and user_message is not None:
                require_same_text(stored, user_message)
        elif (key, request.client_message_id) in self._withdrawn or any(
            m.metadata.client_message_id == request.client_message_id for m in self._all(key)
        ):
            raise IdempotencyMismatch
        if unfinished is not None:
            return ConversationBusy(unfinished, stored if tried and tried[1] == unfinished else None)
        if tried is not None and stored is not None:
            log = self._logs[key, tried[1]]
            ending = log[max(log)].content if log else None
            found = [each for each in self.messages[key][-1:] if each.metadata.run_id == tried[1]]
            reply = found[0] if found else None
            if isinstance(ending, Finished):
                reply = self._message(key, ending.reply_id)
            if reply is not None:
                return AlreadyAnswered(stored, reply)
            if not isinstance(ending, Broken):
                raise NotTheLastExchange
        return stored

    def _finish_try(self, key: ConversationKey, another: AnotherTry, reply: Message) -> None:
        leaving = {*another.older_ids, another.continued_id}
        older = [each for each in self.messages[key] if each.id in another.older_ids]
        coming = [each for each in self._pending[key] if each.id == reply.metadata.reply_to]
        kept = [each for each in self.messages[key] if each.id not in leaving]
        self._pending[key] = [each for each in self._pending[key] if each not in coming]
        self._older[key] += older
        self._replace_messages(key, sorted((*kept, *coming, reply), key=lambda each: each.id), reply)
        if reply.metadata.versions == MOST_VERSIONS:
            around = surroundings_of(reply.id, self.messages[key])
            own = [] if around is None else around.older(self._older[key])
            dropped = surplus(own, keep=MOST_VERSIONS - 1)
            self._older[key] = [each for each in self._older[key] if each not in dropped]

    async def choose_version(self, key: ConversationKey, reply_id: str, version_id: str) -> None:
        self._begin()
        self._find(key)
        busy = self._queue(key).first_run_id
        if busy is not None:
            raise TryInProgress(busy)
        last = last_exchange(self.messages[key])
        versions = await self.load_versions(key, reply_id)
        version = next((each for each in versions if each.has_whole_reply(version_id)), None)
        if last is None or last.reply is None or last.reply.id != reply_id:
            raise NotTheLastExchange
        if version is None or version.reply is None:
            raise NotTheLastExchange
        metadata = msgspec.structs.replace(version.reply.metadata, versions=last.reply.metadata.versions)
        chosen = (version.user_message, msgspec.structs.replace(version.reply, metadata=metadata))
        before = (last.user_message, last.reply)
        names = {each.id for each in chosen}
        self._older[key] = [each for each in (*self._older[key], *before) if each.id not in names]
        self.messages[key] = [*self.messages[key][:-2], *chosen]

    async def load_versions(self, key: ConversationKey, message_id: str) -> Sequence[Version]:
        around = surroundings_of(message_id, self.messages.get(key, []))
        if around is None:
            return []
        return versions_of(around.chosen, around.older(self._older[key]))

    def _all(self, key: ConversationKey) -> list[Message]:
        return [*self.messages.get(key, []), *self._older[key], *self._pending[key]]

    def _message(self, key: ConversationKey, message_id: str) -> Message | None:
        return next((message for message in self._all(key) if message.id == message_id), None)

    def _newest_id(self, key: ConversationKey) -> str:
        return max((message.id for message in self._all(key)), default="")

    def _known(
        self, key: ConversationKey, user_message: Message, messages: Sequence[Message] | None = None
    ) -> list[Message]:
        name = user_message.metadata.client_message_id
        if name is not None and (key, name) in self._withdrawn:
            raise MessageWithdrawn
        return [
            message
            for message in (self.messages[key] if messages is None else messages)
            if message.id == user_message.id
            or (name is not None and message.metadata.client_message_id == name)
        ]

    def _save_new(self, key: ConversationKey, message: Message) -> Message:
        message = msgspec.structs.replace(message, id=id_after(message.id, self._newest_id(key)))
        self._replace_messages(key, [*self.messages[key], message], message)
        return message

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        self._begin()
        self._find(key)
        there = self._logs[key, run_id].setdefault(entry.number, entry)
        return None if is_repeated(entry, there) else there

    async def finish_run(
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        self._begin()
        self._find(key)
        there = self._logs[key, run_id].get(ended.number)
        if there is not None:
            return None if is_repeated(ended, there) else there
        if self._unfinished.get(key) != run_id:
            raise RunNotFound
        self._logs[key, run_id][ended.number] = ended
        if reply is not None and another_try is not None:
            self._finish_try(key, another_try, reply)
        elif reply is not None:
            kept = [
                message
                for message in self.messages[key]
                if not (message.is_interrupted and message.metadata.reply_to == reply.metadata.reply_to)
            ]
            self._replace_messages(key, [*kept, reply], reply)
        del self._unfinished[key]
        if spent is not None:
            self._tokens[key.user_id, day_of(spent.at)] += spent.tokens
        return None

    async def quota_use(self, user_id: str, limits: QuotaLimits, *, at: int) -> QuotaUse:
        self._begin()
        return self._use(user_id, limits, at)

    async def set_own_limits(self, user_id: str, own: OwnLimits) -> None:
        self._own_limits[user_id] = own

    def _use(self, user_id: str, limits: QuotaLimits, at: int) -> QuotaUse:
        logs = [self._logs[each] for each in self._unfinished.items() if each[0].user_id == user_id]
        return QuotaUse(
            limits=limits.overridden_by(self._own_limits.get(user_id, OwnLimits())),
            at=at,
            concurrent_runs=sum(holds_a_place(log[max(log)], at) for log in logs),
            turns=self._turns[user_id, minute_of(at)],
            tokens=self._tokens[user_id, day_of(at)],
        )

    async def read_log(self, key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        self._begin()
        log = self._logs.get((key, run_id), {})
        return [log[number] for number in sorted(log) if number > after]

    async def read_last(self, key: ConversationKey, run_id: str) -> LogEntry | None:
        self._begin()
        log = self._logs.get((key, run_id))
        return log[max(log)] if log else None

    async def load_message(self, key: ConversationKey, message_id: str) -> Message | None:
        self._begin()
        return self._message(key, message_id)

    async def mark_handed_off(self, key: ConversationKey, message_id: str) -> None:
        self._begin()
        for messages in (self.messages, self._pending):
            messages[key] = [
                msgspec.structs.replace(
                    message, metadata=msgspec.structs.replace(message.metadata, is_handed_off=True)
                )
                if message.id == message_id
                else message
                for message in messages.get(key, [])
            ]

    async def find_recent_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        self._begin()
        for message in reversed(self.messages.get(key, [])):
            is_users = message.role is Role.USER and message.id >= first_message_id(since)
            if is_users and message.content == text:
                return message
        return None

    def forget_logs(self) -> None:
        """Delete all logs, as if every run had ended long ago."""
        self._logs.clear()

    async def save_memory(self, user_id: str, memory: Memory) -> None:
        self._begin()
        stored = self._memories.get((user_id, memory.id), memory)
        self._memories[user_id, memory.id] = msgspec.structs.replace(stored, content=memory.content)

    async def change_memory_traits(self, user_id: str, memory: Memory) -> None:
        self._begin()
        if (stored := self._memories.get((user_id, memory.id))) is not None:
            self._memories[user_id, memory.id] = msgspec.structs.replace(
                stored,
                memory_type=memory.memory_type,
                importance=memory.importance,
                coach_id=memory.coach_id,
                tags=memory.tags,
            )

    async def delete_memory(self, user_id: str, memory_id: str) -> None:
        self._begin()
        self._memories.pop((user_id, memory_id), None)

    async def note_memories_used(self, user_id: str, memory_ids: Sequence[str], *, at: datetime) -> None:
        self._begin()
        for memory_id in set(memory_ids):
            if (memory := self._memories.get((user_id, memory_id))) is not None:
                self._memories[user_id, memory_id] = msgspec.structs.replace(
                    memory, usage_count=memory.usage_count + 1, last_used=at
                )

    async def read_records(
        self, user_id: str, *, after: str | None = None, limit: int = PAGE_RECORDS
    ) -> RecordPage:
        self._begin()
        if after is not None and not after.startswith(_POSITION):
            raise InvalidCursor
        last = "" if after is None else after.removeprefix(_POSITION)
        found = [record for record in self._records(user_id) if record.id > last]
        page = found[:limit]
        return RecordPage(page, _POSITION + page[-1].id if len(found) > limit else None)

    async def count_records(self, user_id: str) -> Mapping[str, int]:
        self._begin()
        return Counter(record.kind for record in self._records(user_id))

    async def list_all_conversations(self, user_id: str) -> Sequence[ConversationKey]:
        self._begin()
        await asyncio.sleep(0)  # as a real store waits for its data
        return [key for key in self.conversations if key.user_id == user_id]

    async def delete_loose_records(self, user_id: str) -> Mapping[str, int]:
        self._begin()
        memories = [key for key in self._memories if key[0] == user_id]
        for key in memories:
            del self._memories[key]
        return {MEMORY: len(memories)} if memories else {}

    def _records(self, user_id: str) -> list[UserRecord]:
        """In the order of their ids."""
        found: list[tuple[str, str, object]] = []
        if user_id in self._profiles:
            found.append(("profile", "profile", self._profiles[user_id]))
        if user_id in self._own_limits:
            found.append(("coachQuota", "coachQuota", msgspec.to_builtins(self._own_limits[user_id])))
        stored: Mapping[str, Mapping[tuple[str, str], object]] = {
            "coach": self.coaches,
            MEMORY: self._memories,
            "workout": self._workouts,
        }
        found += [
            (kind, f"{kind}#{name}", value)
            for kind, values in stored.items()
            for (owner, name), value in values.items()
            if owner == user_id
        ]
        for key, talk in self.conversations.items():
            if key.user_id != user_id:
                continue
            name = key.conversation_id
            found.append(("coachConversation", f"coachConversation#{key.coach_id}#{name}", talk))
            found += [("coachMessage", f"coachMessage#{name}#{m.id}", m) for m in self.messages[key]]
            older = [*self._older[key], *self._pending[key]]
            found += [("coachVersion", f"coachVersion#{name}#{m.id}", m) for m in older]
            if key in self._summaries:
                found.append(("conversation", f"conversation#{name}#summary", self._summaries[key]))
            found += [
                ("coachRun", f"coachRun#{name}#{run_id}#{number:08d}", entry)
                for (of, run_id), log in self._logs.items()
                if of == key
                for number, entry in log.items()
            ]
        records = (UserRecord(kind, name, msgspec.to_builtins(value)) for kind, name, value in found)
        return sorted(records, key=lambda record: record.id)

    async def saved_memories(self, user_id: str) -> list[Memory]:
        """All memories of a user, in the order they were saved."""
        return [memory for (owner, _), memory in self._memories.items() if owner == user_id]

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        self._begin()
        if (user_id, coach_id) not in self.coaches:
            raise CoachConfigNotFound
        return parse_coach_config(coach_id, self.coaches[user_id, coach_id])

    async def list_coaches(self, user_id: str) -> Sequence[CoachConfig]:
        self._begin()
        owned = sorted(coach_id for owner, coach_id in self.coaches if owner == user_id)
        return [parse_coach_config(coach_id, self.coaches[user_id, coach_id]) for coach_id in owned]

    async def load_history(self, key: ConversationKey, *, limit: int, budget_chars: int) -> Sequence[Message]:
        messages = await self.load_messages(key)
        newest: list[Message] = []
        for message in reversed(messages):
            if len(newest) >= limit or sum(len(newer.content) for newer in newest) >= budget_chars:
                break
            newest.append(message)
        return newest[::-1]

    async def load_memories(self, user_id: str, coach_id: str, *, limit: int) -> Sequence[Memory]:
        self._begin()
        own = [memory for (owner, _), memory in self._memories.items() if owner == user_id]
        known = [memory for memory in own if memory.coach_id in {None, coach_id}]
        return most_important(known, datetime.now(UTC), limit=limit)

    async def load_profile(self, user_id: str) -> UserProfile:
        self._begin()
        return self._profiles.get(user_id, UserProfile())

    async def load_summary(self, key: ConversationKey) -> ConversationSummary:
        self._begin()
        return self._summaries.get(key, ConversationSummary())

    async def load_recent_workouts(self, user_id: str, *, limit: int) -> Sequence[Workout]:
        self._begin()
        own = [workout for (owner, _), workout in self._workouts.items() if owner == user_id]
        return sorted(own, key=lambda workout: workout.completed_at, reverse=True)[:limit]

    def _begin(self) -> None:
        self.operations += 1
        if self.failure is not None:
            raise self.failure

    def _find(self, key: ConversationKey) -> Conversation:
        if key not in self.conversations:
            raise ConversationNotFound
        return self.conversations[key]

    def _replace_messages(self, key: ConversationKey, messages: list[Message], last: Message) -> None:
        self.messages[key] = sorted(messages, key=lambda message: message.id)
        self.conversations[key] = msgspec.structs.replace(
            self.conversations[key], total_messages=len(messages), last_activity=last.timestamp
        )


class ScriptedModel:
    """Plays its script: text, a stop, an exception, or nothing until an event is set."""

    display_name = "scripted"
    can_continue = False
    is_usable = True

    def __init__(self, *script: str | ModelEvent | Exception | asyncio.Event) -> None:
        self.script = script or ("Hello, ", "you!", ModelStop(StopReason.END_TURN))
        self.prompts: list[Prompt] = []

    @property
    def calls(self) -> int:
        """The number of calls."""
        return len(self.prompts)

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        assert deadline > 0
        self.prompts.append(prompt)
        for line in self.script:
            match line:
                case str():
                    yield TextDelta(line)
                case asyncio.Event():
                    await line.wait()
                case Exception():
                    raise line
                case _:
                    yield line
