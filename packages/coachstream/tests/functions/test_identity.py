"""Forged and borrowed tokens over HTTP, verified by the real code with a real key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from coachstream.functions.coach_conversations import handler as coach_conversations
from coachstream.functions.stream_coach_conversation import handler as stream_coach_conversation
from coachstream.identity.local_issuer import LocalIssuer, local_verifier
from coachstream.services import Services
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.http_server import serving

BASE = "users/sam/coaches/mara/conversations"
REQUESTS = [
    ("stream", "POST", f"{BASE}/conv1/stream"),
    ("conversations", "GET", BASE),
    ("conversations", "POST", BASE),
    ("conversations", "DELETE", f"{BASE}/conv1"),
]


class Forge:
    """Derives tokens from a valid one: other claims, other keys, other algorithms."""

    def __init__(self, folder: Path) -> None:
        issuer = LocalIssuer(folder)
        self.valid = issuer.issue("sam").token
        self.expired = issuer.issue("sam", lifetime=timedelta(hours=-1)).token
        self.of_kim = issuer.issue("kim").token
        self.header: dict[str, Any] = jwt.get_unverified_header(self.valid)
        self.claims: dict[str, Any] = jwt.decode(self.valid, options={"verify_signature": False})
        self._pem = (folder / "issuer-key.pem").read_bytes()

    def signed(self, *, pem: bytes | None = None, **changes: object) -> str:
        claims = {name: value for name, value in {**self.claims, **changes}.items() if value is not None}
        return jwt.encode(claims, pem or self._pem, algorithm="RS256", headers={"kid": self.header["kid"]})

    def signed_by_another(self) -> str:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self.signed(
            pem=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def unsigned(self) -> str:
        return f"{_segment({**self.header, 'alg': 'none'})}.{self.valid.split('.')[1]}."

    def signed_with_the_public_key(self) -> str:
        key = serialization.load_pem_private_key(self._pem, password=None)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = f"{_segment({**self.header, 'alg': 'HS256'})}.{self.valid.split('.')[1]}"
        signature = hmac.new(public, text.encode(), hashlib.sha256).digest()
        return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return Forge(_folder(tmp_path_factory))


def _folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "issuer"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
async def clients(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    services.verifier = local_verifier(_folder(tmp_path_factory))
    stream = to_asgi(stream_coach_conversation.handler_for(lambda: services))
    conversations = to_asgi(coach_conversations.handler_for(lambda: services))
    async with (
        serving(stream) as stream_port,
        serving(conversations) as conversations_port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{stream_port}/", trust_env=False) as to_stream,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{conversations_port}/", trust_env=False) as to_others,
    ):
        yield {"stream": to_stream, "conversations": to_others}


FORGERIES: list[tuple[str, Callable[[Forge], str], int, str]] = [
    ("wrong signature", Forge.signed_by_another, 401, "INVALID_TOKEN"),
    ("cut signature", lambda forge: forge.valid.rpartition(".")[0] + ".", 401, "INVALID_TOKEN"),
    ("alg none", Forge.unsigned, 401, "INVALID_TOKEN"),
    ("HS256 with the public key", Forge.signed_with_the_public_key, 401, "INVALID_TOKEN"),
    ("other issuer", lambda forge: forge.signed(iss="https://evil.example"), 401, "INVALID_TOKEN"),
    ("other audience", lambda forge: forge.signed(aud="another-app"), 401, "INVALID_TOKEN"),
    ("no audience", lambda forge: forge.signed(aud=None), 401, "INVALID_TOKEN"),
    ("access token", lambda forge: forge.signed(token_use="access"), 401, "INVALID_TOKEN"),
    ("no expiry", lambda forge: forge.signed(exp=None), 401, "INVALID_TOKEN"),
    ("expired", lambda forge: forge.expired, 401, "TOKEN_EXPIRED"),
    ("no user id", lambda forge: forge.signed(**{"custom:user_id": None}), 403, "MISSING_CUSTOM_USER_ID"),
    ("another user's", lambda forge: forge.of_kim, 403, "USER_ID_MISMATCH"),
    ("junk", lambda _: "junk", 401, "INVALID_TOKEN_FORMAT"),
    ("junk with dots", lambda _: "a.b.c", 401, "INVALID_TOKEN_FORMAT"),
]


@pytest.mark.usefixtures("conversation")
@pytest.mark.parametrize(
    ("make", "status", "code"),
    [forgery[1:] for forgery in FORGERIES],
    ids=[forgery[0] for forgery in FORGERIES],
)
async def test_a_forged_or_borrowed_token_reads_and_writes_nothing(
    *,
    clients: dict[str, httpx.AsyncClient],
    forge: Forge,
    store: RememberedConversations,
    model: ScriptedModel,
    make: Callable[[Forge], str],
    status: int,
    code: str,
) -> None:
    """Each is refused with its code at every path, before the store or the model is used."""
    headers = {"Authorization": f"Bearer {make(forge)}"}
    for function, method, path in REQUESTS:
        body = {"userResponse": "Hi", "initialMessage": "Hi"}
        response = await clients[function].request(method, path, headers=headers, json=body)
        assert (response.status_code, f'"{code}"' in response.text) == (status, True), response.text
    assert (store.operations, model.calls) == (0, 0)


@pytest.mark.usefixtures("conversation")
@pytest.mark.parametrize(
    ("header", "scheme"),
    [("Authorization", "Bearer"), ("authorization", "bearer"), ("AUTHORIZATION", "BEARER")],
)
async def test_a_valid_token_is_accepted(
    clients: dict[str, httpx.AsyncClient], forge: Forge, header: str, scheme: str
) -> None:
    """Header name and scheme are case-insensitive, on both functions."""
    headers = {header: f"{scheme} {forge.valid}"}
    assert (await clients["conversations"].get(BASE, headers=headers)).status_code == 200
    streamed = await clients["stream"].post(
        f"{BASE}/conv1/stream", headers=headers, json={"userResponse": "Hi"}
    )
    assert '"type":"complete"' in streamed.text
