"""The steps of each inference endpoint, in order."""

from __future__ import annotations

import asyncio

from cluster.catalog.catalog import Catalog
from cluster.catalog.price_book import PriceBook
from cluster.catalog.route import Remote, Route
from cluster.stored.completions import Completions
from cluster.stored.responses import Responses
from cluster.stored.saver import Saver
from cluster.tenancy.admission import Admission
from cluster.tenancy.authenticate import Authenticator
from cluster.usage.meter import Meter
from deployments.platform import Platform
from deployments.router.asked import embed, moderate, rerank, score
from deployments.router.asked.ask import Asking, ParseQuestion, ask_deployment
from deployments.router.dialects.anthropic.parse import ParseMessages
from deployments.router.dialects.openai.fields import Fields
from deployments.router.dialects.openai.keep_chat import KeepChat
from deployments.router.dialects.openai.parse import ParseInference
from deployments.router.dialects.openai.parse_responses import ParseResponses
from deployments.router.dialects.openai.tokens import ParseTokens
from deployments.router.engines.replicas import ReplicaPool
from deployments.router.engines.sender import Engines
from deployments.router.engines.transport import Transport
from deployments.router.pipeline import Pipeline, Step
from deployments.router.remote.breaker import Breakers
from deployments.router.remote.guarded_sender import GuardedSender
from deployments.router.remote.providers import Providers
from deployments.router.steps.admit import Admit
from deployments.router.steps.authenticate import Authenticate
from deployments.router.steps.deadline import Deadline
from deployments.router.steps.dispatch import Dispatch
from deployments.router.steps.enter import Enter
from deployments.router.steps.name import Name
from deployments.router.steps.read import Read
from deployments.router.steps.resolve import Resolve
from deployments.router.steps.settle import Settle
from deployments.router.steps.shadow import Shadow
from deployments.router.steps.stream import Stream
from deployments.router.steps.urgency import Urgency
from deployments.router.waiting.slots import Slots


def pipelines(
    platform: Platform,
    authenticator: Authenticator,
    catalog: Catalog,
    pool: ReplicaPool,
    transport: Transport,
    admission: Admission,
    book: PriceBook,
    meter: Meter,
    providers: Providers,
    copies: set[asyncio.Task[None]],
) -> dict[str, Pipeline]:
    """The steps of each inference endpoint, in order. `copies` holds the requests to shadows."""
    settings = platform.settings
    limit = settings.request_timeout
    fields = Fields(pool)
    enter, who, read = Enter(), Authenticate(authenticator), Read(settings.body_max_bytes)
    named, deadline, resolve = Name(), Deadline(limit), Resolve(catalog, fields)
    urgency = Urgency(settings.hurried)
    admit, settle = Admit(admission, book), Settle(admission, book, meter)
    engines = Engines(pool, Slots(pool, settings.hold_requests), transport, settings)
    others = GuardedSender(providers, Breakers())
    dispatch, stream = Dispatch({Route: engines, Remote: others}), Stream()
    shadow = Shadow(Pipeline([dispatch, stream], settle, limit).run, copies)

    def pipeline(parse: Step, *answer: Step, name: Step = named) -> Pipeline:
        before: list[Step] = [enter, who, read, name, deadline, resolve, parse, urgency, admit]
        return Pipeline([*before, *answer], settle, limit)

    saver = Saver(platform.database)
    completions_kept = Completions(platform.database)
    responses_kept = Responses(platform.database, settings.body_max_bytes)
    parse = ParseInference(fields)
    generate = pipeline(parse, dispatch, shadow, stream)
    keep_chat = KeepChat(parse, saver, completions_kept, settings.body_max_bytes)
    chat = pipeline(keep_chat, dispatch, shadow, stream)
    respond = pipeline(ParseResponses(fields, saver, responses_kept), dispatch, shadow, stream)
    tokens = pipeline(ParseTokens(fields), dispatch, stream)
    parse_messages = ParseMessages(fields)
    messages = pipeline(parse_messages, dispatch, shadow, stream)
    counts = pipeline(parse_messages, dispatch, stream)
    own = Asking(ask_deployment, pool, settings.first_token_retries)
    asking = Dispatch({Route: own, Remote: others})
    embeddings = pipeline(ParseQuestion(embed.parse), asking, stream)
    scores = pipeline(ParseQuestion(score.parse), asking, stream)
    rankings = pipeline(ParseQuestion(rerank.parse), asking, stream)
    moderation = Name(moderate.ModerationModel(catalog, settings.moderation_model))
    moderations = pipeline(ParseQuestion(moderate.parse), asking, stream, name=moderation)
    return {
        "/v1/chat/completions": chat,
        "/v1/completions": generate,
        "/v1/responses": respond,
        "/v1/embeddings": embeddings,
        "/v1/score": scores,
        "/score": scores,
        "/v1/rerank": rankings,
        "/v2/rerank": rankings,
        "/rerank": rankings,
        "/v1/moderations": moderations,
        "/tokenize": tokens,
        "/detokenize": tokens,
        "/v1/messages": messages,
        "/v1/messages/count_tokens": counts,
    }
