"""What is sent to a provider: the address, the headers, and the way between the dialects."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.catalog.connection import Connection, Credentials, Protocol
from cluster.catalog.route import Remote
from cluster.errors import InvalidRequest
from deployments.router.exchange import Exchange
from deployments.router.remote.anthropic import Anthropic
from deployments.router.remote.chat_answer import ChatOverMessages
from deployments.router.remote.messages_answer import MessagesOverChat
from deployments.router.remote.messages_request import bound_name
from deployments.router.remote.openai import OpenAI, Responses
from deployments.router.remote.passage import Passage

ANTHROPIC_VERSION = b"2023-06-01"
"""Of the API, where the caller names none."""
_CALLERS = (b"anthropic-version", b"anthropic-beta")
"""Of the caller's headers, those that the provider gets."""

Headers = list[tuple[bytes, bytes]]


def passage(exchange: Exchange, target: Remote, connection: Connection) -> Passage:
    """Raises InvalidRequest where the provider has nothing that could answer the endpoint."""
    given = exchange, target, connection.name
    match connection.protocol, exchange.endpoint:
        case Protocol.OPENAI, "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings":
            return OpenAI(*given)
        case Protocol.OPENAI, "/v1/responses":
            return Responses(*given)
        case Protocol.OPENAI, "/v1/messages":
            return MessagesOverChat(*given, bound=bound_name(connection.base_url))
        case Protocol.ANTHROPIC, "/v1/messages" | "/v1/messages/count_tokens":
            return Anthropic(*given)
        case Protocol.ANTHROPIC, "/v1/chat/completions":
            return ChatOverMessages(*given)
    raise InvalidRequest(
        f"{target.name!r} does not answer {exchange.endpoint}: its provider speaks the protocol "
        f"{connection.protocol.value!r}, which has nothing of the kind.",
        param="model",
        code="unsupported_endpoint",
    )


def request_headers(exchange: Exchange, connection: Connection, own: Credentials) -> Headers:
    """Of the caller's own headers only those that the protocol has; never their key."""
    accepted = b"text/event-stream" if exchange.stream else b"application/json"
    made = [
        (b"content-type", b"application/json"),
        (b"accept", accepted),
        (b"x-request-id", exchange.id.encode()),
    ]
    if connection.protocol is Protocol.ANTHROPIC:
        made += _callers(exchange.scope["headers"])
    return made + credential_headers(connection.protocol, own)


def credential_headers(protocol: Protocol, own: Credentials) -> Headers:
    made: Headers = [(b"user-agent", b"lorikeet")]
    if own.secret is not None:
        if protocol is Protocol.ANTHROPIC:
            made.append((b"x-api-key", own.secret.encode()))
        else:
            made.append((b"authorization", b"Bearer " + own.secret.encode()))
    # What the connection names goes before what we would send.
    given = {name.encode(): value.encode() for name, value in own.headers}
    return [(name, value) for name, value in made if name not in given] + list(given.items())


def _callers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    given = list(headers)
    found = {
        wanted: b",".join(value for name, value in given if name == wanted) for wanted in _CALLERS
    }
    found[b"anthropic-version"] = found[b"anthropic-version"] or ANTHROPIC_VERSION
    return [(name, value) for name, value in found.items() if value]
