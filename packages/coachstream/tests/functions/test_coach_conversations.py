from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from coachstream.conversation.errors import (
    ErrorCode,
    ModelUnavailable,
    StorageUnavailable,
)
from coachstream.conversation.model import ConversationKey, Message, Role
from coachstream.conversation.prompt.prompt import SectionName
from coachstream.functions.coach_conversations.handler import handler_for
from coachstream.services import Services
from coachstream.web.status import HTTP_STATUS
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving
from support.turns import RecallDouble

BASE = "users/sam/coaches/mara/conversations"


class StoppedClock:
    """A clock that always returns the same time."""

    def now(self) -> datetime:
        return datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    services.clock = StoppedClock()
    async with (
        serving(to_asgi(handler_for(lambda: services), drain_timeout_s=5)) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer sam"}, trust_env=False
        ) as client,
    ):
        yield client


async def created(http: httpx.AsyncClient, **body: object) -> dict[str, object]:
    response = await http.post(BASE, json=body)
    assert response.status_code == 201
    answer = response.json()
    assert answer["success"] is True
    conversation: dict[str, object] = answer["conversation"]
    return conversation


async def test_a_created_conversation_has_the_stored_shape(http: httpx.AsyncClient) -> None:
    """201, with the attributes that the existing functions store, and no messages yet."""
    conversation = await created(http)
    assert re.fullmatch(r"conv_1772366400123_[0-9a-z]{9}", str(conversation["conversationId"]))
    del conversation["conversationId"]
    assert conversation == {
        "coachId": "mara",
        "userId": "sam",
        "title": "New Conversation",
        "messages": [],
        "metadata": {
            "startedAt": "2026-03-01T12:00:00.123Z",
            "lastActivity": "2026-03-01T12:00:00.123Z",
            "totalMessages": 0,
            "isActive": True,
            "tags": [],
        },
    }


async def test_stored_fields_that_only_the_front_end_knows_reach_it(
    http: httpx.AsyncClient, store: RememberedConversations, conversation: ConversationKey
) -> None:
    """In the list and alone; what we know ourselves is never replaced by them."""
    found = store.conversations[conversation]
    store.conversations[conversation] = msgspec.structs.replace(
        found,
        more={"mode": "workout_log", "title": "stray"},
        more_metadata={"editContext": {"workoutId": "ws_1"}, "isActive": "stray"},
    )
    [listed] = (await http.get(BASE)).json()["conversations"]
    alone = (await http.get(f"{BASE}/conv1")).json()["conversation"]
    for shown in (listed, alone):
        assert (shown["mode"], shown["title"]) == ("workout_log", "Legs")
        assert shown["metadata"]["editContext"] == {"workoutId": "ws_1"}
        assert shown["metadata"]["isActive"] is True


@pytest.mark.parametrize("fails", [False, True])
async def test_a_deleted_conversation_is_removed_from_the_search_index(
    http: httpx.AsyncClient, services: Services, conversation: ConversationKey, fails: bool
) -> None:
    """The response says whether it was; a failure leaves it deleted."""
    recall = services.recall = RecallDouble()
    recall.failure = StorageUnavailable() if fails else None
    response = await http.delete(f"{BASE}/conv1")
    assert (response.status_code, response.json()["pineconeCleanup"]) == (200, not fails)
    assert recall.forgotten == ([] if fails else [(conversation.user_id, "conv1")])
    assert (await http.get(f"{BASE}/conv1")).status_code == 404


async def test_the_creation_responds_after_the_reply_to_its_first_message(
    http: httpx.AsyncClient, store: RememberedConversations
) -> None:
    """The turn runs to its end; the response shows the conversation as it was created."""
    assert (await created(http, initialMessage="Hi"))["messages"] == []
    [messages] = store.messages.values()
    assert [message.content for message in messages] == ["Hi", "Hello, you!"]


async def test_a_first_message_is_answered_in_its_sender_s_time_zone(
    http: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """Noon in London is evening in Tokyo."""
    await created(http, initialMessage="Hi", userTimezone="Asia/Tokyo")
    [now] = [each.text for each in model.prompts[0].sections if each.name is SectionName.CURRENT_TIME]
    assert now.endswith("It is Sunday, 2026-03-01, 21:00 (Asia/Tokyo, UTC+09:00).")


async def test_a_first_message_that_fails_does_not_fail_the_creation(
    http: httpx.AsyncClient, store: RememberedConversations, model: ScriptedModel
) -> None:
    """The message is kept, so the user can send it again."""
    model.script = (ModelUnavailable(),)
    await created(http, initialMessage="Hi")
    [messages] = store.messages.values()
    assert [message.content for message in messages] == ["Hi"]


async def test_list_and_count_speak_of_all_conversations_without_their_messages(
    http: httpx.AsyncClient,
) -> None:
    """`count` is the number of conversations; messages are not included."""
    assert (await http.get(BASE)).json() == {"success": True, "conversations": [], "count": 0}
    conversation = await created(http, title="Legs")
    listed = (await http.get(BASE)).json()
    del conversation["messages"]
    assert listed == {"success": True, "conversations": [conversation], "count": 1}
    counted = (await http.get(f"{BASE}/count")).json()
    assert counted == {"success": True, "totalCount": 1, "totalMessages": 0}


async def test_get_gives_the_messages_oldest_first(
    http: httpx.AsyncClient, store: RememberedConversations
) -> None:
    """A reload shows the whole conversation."""
    name = (await created(http))["conversationId"]
    [key] = store.conversations
    store.messages[key] = [Message("m1", Role.USER, "Hi", datetime(2026, 3, 1, tzinfo=UTC))]
    answer = (await http.get(f"{BASE}/{name}")).json()
    assert answer["success"] is True
    assert answer["conversation"]["messages"] == [
        {"id": "m1", "role": "user", "content": "Hi", "timestamp": "2026-03-01T00:00:00.000Z"}
    ]


async def test_a_long_conversation_can_be_read_page_by_page(
    http: httpx.AsyncClient, store: RememberedConversations
) -> None:
    """From its end to its beginning. A page has its oldest message first, and says whether there are more."""
    name = (await created(http))["conversationId"]
    [key] = store.conversations
    at = datetime(2026, 3, 1, tzinfo=UTC)
    store.messages[key] = [Message(f"m{number:03}", Role.USER, "Hi", at) for number in range(120)]

    async def page(**query: int | str) -> tuple[list[str], bool]:
        body = (await http.get(f"{BASE}/{name}", params=httpx.QueryParams(query))).json()
        return [message["id"] for message in body["conversation"]["messages"]], body["hasMore"]

    every = [message.id for message in store.messages[key]]
    assert await page(limit=3) == (every[-3:], True)
    assert await page(limit=50, before=every[-3]) == (every[-53:-3], True)
    assert await page(before=every[-53]) == (every[-103:-53], True)
    assert await page(limit=17, before=every[17]) == (every[:17], False)
    assert await page(limit=200) == (every, False)
    assert "hasMore" not in (await http.get(f"{BASE}/{name}")).json()


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=-1", "limit=", "limit=ten", "limit=\u0663", "limit=1&limit=2"),
        *("before=", "before=a%23b", "before=%00", f"before={'x' * 257}", "before=a&before=b"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(http: httpx.AsyncClient, query: str) -> None:
    """It is not ignored: the response would be a page that was not asked for."""
    name = (await created(http))["conversationId"]
    response = await http.get(f"{BASE}/{name}?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_REQUEST")


async def test_rename_changes_what_it_names_and_nothing_else(http: httpx.AsyncClient) -> None:
    """The response is the updated conversation."""
    path = f"{BASE}/{(await created(http, title='Legs'))['conversationId']}"
    changed = (await http.put(path, json={"tags": ["a"], "isActive": False})).json()["conversation"]
    assert (changed["title"], changed["metadata"]["tags"]) == ("Legs", ["a"])
    assert changed["metadata"]["isActive"] is False
    assert (await http.put(path, json={"title": "Arms"})).json()["conversation"]["title"] == "Arms"


async def test_delete_reports_what_was_deleted(http: httpx.AsyncClient) -> None:
    """A second delete finds nothing."""
    name = (await created(http))["conversationId"]
    assert (await http.delete(f"{BASE}/{name}")).json() == {
        "success": True,
        "message": "Conversation deleted successfully",
        "conversationId": name,
        "coachId": "mara",
        "userId": "sam",
        "pineconeCleanup": False,
    }
    assert (await http.delete(f"{BASE}/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "users/sam/invalid/path", None, ErrorCode.MISSING_PATH_PARAMS),
        ("POST", f"{BASE}/c1/stream", "{}", ErrorCode.MISSING_PATH_PARAMS),
        ("DELETE", BASE, None, ErrorCode.METHOD_NOT_ALLOWED),
        ("POST", f"{BASE}/count", None, ErrorCode.METHOD_NOT_ALLOWED),
        ("PATCH", f"{BASE}/c1", None, ErrorCode.METHOD_NOT_ALLOWED),
        ("OPTIONS", BASE, None, ErrorCode.METHOD_NOT_ALLOWED),
        ("GET", f"{BASE}/c1", None, ErrorCode.CONVERSATION_NOT_FOUND),
        ("PUT", f"{BASE}/c1", '{"title":"x"}', ErrorCode.CONVERSATION_NOT_FOUND),
        ("POST", "users/sam/coaches/nobody/conversations", None, ErrorCode.COACH_CONFIG_NOT_FOUND),
        ("POST", BASE, "{", ErrorCode.INVALID_JSON),
        ("POST", BASE, '{"title":7}', ErrorCode.INVALID_REQUEST),
        ("POST", BASE, '{"initialMessage":7}', ErrorCode.INVALID_USER_RESPONSE),
        ("POST", BASE, f'{{"initialMessage":"{"x" * 32_001}"}}', ErrorCode.MESSAGE_TOO_LONG),
        ("PUT", f"{BASE}/c1", None, ErrorCode.MISSING_REQUEST_BODY),
        ("PUT", f"{BASE}/c1", "{}", ErrorCode.INVALID_REQUEST),
    ],
)
async def test_each_mistake_has_its_status_its_code_and_a_sentence(
    http: httpx.AsyncClient, method: str, path: str, body: str | None, code: ErrorCode
) -> None:
    """The body is `{"error", "code"}`; a wrong method also gets `Allow`."""
    response = await http.request(method, path, content=body)
    assert response.status_code == HTTP_STATUS[code]
    assert response.json()["code"] == code
    assert response.json()["error"].endswith(".")
    assert ("allow" in response.headers) == (code is ErrorCode.METHOD_NOT_ALLOWED)
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, ErrorCode.MISSING_AUTH_HEADER),
        ("Bearer", ErrorCode.INVALID_TOKEN_FORMAT),
        ("Bearer junk", ErrorCode.INVALID_TOKEN_FORMAT),
        ("Bearer forged", ErrorCode.INVALID_TOKEN),
        ("Bearer old", ErrorCode.TOKEN_EXPIRED),
        ("Bearer nobody", ErrorCode.MISSING_CUSTOM_USER_ID),
        ("Bearer kim", ErrorCode.USER_ID_MISMATCH),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", BASE), ("POST", BASE), ("GET", f"{BASE}/count"), ("PUT", f"{BASE}/c"), ("DELETE", f"{BASE}/c")],
)
async def test_a_refused_caller_reads_and_writes_nothing(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    authorization: str | None,
    code: ErrorCode,
    method: str,
    path: str,
) -> None:
    """The store is not accessed before the caller is authenticated."""
    del http.headers["authorization"]
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await http.request(method, path, headers=headers, content='{"title":"x"}')
    assert (response.status_code, response.json()["code"]) == (HTTP_STATUS[code], code)
    assert store.operations == 0


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StorageUnavailable("secret"), ErrorCode.STORAGE_UNAVAILABLE),
        (ValueError("secret"), ErrorCode.PROCESSING_ERROR),
    ],
)
async def test_a_store_that_fails_is_a_sentence_and_no_stack_trace(
    http: httpx.AsyncClient,
    store: RememberedConversations,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    code: ErrorCode,
) -> None:
    """The client never sees an exception's text; the log shows only that of typed errors."""
    store.failure = failure
    response = await http.get(BASE)
    assert (response.status_code, response.json()["code"]) == (HTTP_STATUS[code], code)
    assert "secret" not in response.text
    assert ("secret" in caplog.text) == isinstance(failure, StorageUnavailable)
