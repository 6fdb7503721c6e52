"""One call to an OpenAI-compatible endpoint, and what its failures mean to the queue.

Every failure becomes ``Transient`` or ``Permanent`` with a sentence that holds neither document
text nor the model's words nor the key; the SDK's exception is not chained, because a server may
echo any of them in its message. The SDK retries nothing: a wait belongs to the queue.
"""

from __future__ import annotations

import email.utils
import enum
import logging
import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
from openai.types.chat import ChatCompletion

from jobs.analysis.answer import SCHEMA, Message
from jobs.analysis.language import UNSPACED_CHARACTER
from jobs.errors import Permanent, ProcessingError, Throttled, Transient

MAX_RESPONSE_BYTES = 8 * 1024 * 1024
MAX_RETRY_AFTER_SECONDS = 3600.0
_CONNECT_SECONDS = 10.0

# At level DEBUG the SDK logs whole requests, and those contain the document.
logging.getLogger("openai").setLevel(logging.INFO)

_CONTEXT = re.compile(
    r"context.?(?:length|size|window)|maximum context|too many tokens|prompt is too long|"
    r"input is too long|token limit",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"response.?format|json.?schema|json.?object|structured.?output|grammar|guided", re.IGNORECASE
)
_QUOTA = re.compile(
    r"insufficient_quota|billing|exceeded your current quota|credit balance|payment required", re.IGNORECASE
)


class Format(enum.IntEnum):
    """How strictly the endpoint is asked for JSON; a smaller number is stricter."""

    SCHEMA = 0
    OBJECT = 1
    PROMPT = 2


@dataclass(frozen=True, slots=True)
class Abilities:
    """Which request fields an endpoint accepts for a model, as far as it has said so.

    Attributes:
        token_field: ``max_tokens``, or ``max_completion_tokens`` for models that refuse it.
    """

    format: Format = Format.SCHEMA
    token_field: str = "max_tokens"  # noqa: S105 (a field's name)
    temperature: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one call.

    Attributes:
        content: the message's text, not empty unless ``truncated``.
        truncated: whether the answer ended at the output limit.
        estimated: whether the token counts are guessed from the texts' lengths.
    """

    content: str
    truncated: bool
    prompt_tokens: int
    completion_tokens: int
    estimated: bool


# What endpoints refused, by endpoint and model; lives as long as the process.
_known: dict[tuple[str, str], Abilities] = {}


class Endpoint:
    """An endpoint, a model, and what both are known to accept.

    Args:
        base_url: the API's root, such as ``https://api.openai.com/v1``.
        api_key: the key, or empty for a server that wants none.
        model: the model's name as the server knows it.
    """

    def __init__(self, *, base_url: str, api_key: str, model: str) -> None:
        self._base_url = base_url
        self._api_key = api_key or "none"
        self._model = model

    def client(self, seconds: float) -> openai.AsyncOpenAI:
        """Return a client for one event loop.

        Args:
            seconds: the longest wait for a connection or for one piece of an answer, over 0.
        """
        http_client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
            follow_redirects=False,
            event_hooks={"response": [_bound_response]},
        )
        client = openai.AsyncOpenAI(
            base_url=self._base_url,
            api_key=self._api_key,
            max_retries=0,
            http_client=http_client,
            default_headers={"Accept-Encoding": "identity"},
        )
        # The SDK takes these from the environment; here only the settings decide what is sent.
        client.organization = client.project = client.admin_api_key = None
        return client

    async def ask(self, client: openai.AsyncOpenAI, messages: list[Message], *, max_tokens: int) -> Reply:
        """Ask once, stepping down from request fields that the endpoint refuses.

        Args:
            client: what ``client`` returned.
            messages: the conversation.
            max_tokens: the longest answer, in tokens, at least 1.

        Raises:
            Transient: throttled, unreachable, timed out, or an answer that is none.
            Permanent: the key, the model, the quota or the request was refused; code
                ``context_length`` when the text was too long.
        """
        key = (self._base_url, self._model)
        abilities = _known.get(key, Abilities())
        while True:
            try:
                completion = await client.chat.completions.create(
                    **_request(self._model, messages, max_tokens, abilities)
                )
            except openai.APIStatusError as error:
                weaker = _step_down(abilities, error)
                failure = _status_failure(error)
            except openai.APITimeoutError:
                weaker, failure = None, timed_out()
            except (openai.APIError, httpx2.HTTPError, httpx2.InvalidURL):
                weaker, failure = (
                    None,
                    Transient("The model endpoint could not be reached.", code="model_unreachable"),
                )
            except ValueError:
                weaker, failure = None, _no_answer()
            else:
                # Only what worked is remembered: a refusal may echo words that misled us.
                _known[key] = abilities
                return _read(completion, messages)
            # Raised outside the handler, so that the SDK's exception is not even its context.
            if weaker is None:
                raise failure
            abilities = weaker


def timed_out() -> Transient:
    """Return the failure of a call that did not end in time."""
    return Transient("The model endpoint did not answer in time.", code="model_timeout")


def retry_after(headers: httpx2.Headers, now: datetime) -> float | None:
    """Return how many seconds the server asked to wait.

    Args:
        headers: the response's headers.
        now: the present instant, with a time zone.

    Returns:
        0 to 3600 seconds; ``None`` when the header is missing or unreadable.

    Source: RFC 9110, section 10.2.3: a number of seconds or an HTTP date.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return min(MAX_RETRY_AFTER_SECONDS, max(0.0, seconds)) if math.isfinite(seconds) else None


def estimate_tokens(text: str) -> int:
    """Estimate a text's tokens, rather too many than too few.

    Measured on eight texts, a token holds 0.8 (Chinese) to 4.9 characters; one per character in
    scripts without blanks and a third of one elsewhere stays above most tokenizers.
    """
    unspaced = len(UNSPACED_CHARACTER.findall(text))
    return unspaced + math.ceil((len(text) - unspaced) / 3)


def _request(model: str, messages: list[Message], max_tokens: int, abilities: Abilities) -> dict[str, Any]:
    """Return the call's keyword arguments."""
    arguments: dict[str, Any] = {"model": model, "messages": messages, abilities.token_field: max_tokens}
    if abilities.temperature:
        arguments["temperature"] = 0
    if abilities.format is Format.SCHEMA:
        schema = {"name": "document_analysis", "strict": True, "schema": SCHEMA}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif abilities.format is Format.OBJECT:
        arguments["response_format"] = {"type": "json_object"}
    return arguments


def _step_down(abilities: Abilities, error: openai.APIStatusError) -> Abilities | None:
    """Return what to try instead of a refused request field, or ``None`` when none was refused."""
    if error.status_code not in (400, 422):
        return None
    said = _said(error)
    if _CONTEXT.search(said):
        return None
    if abilities.format is not Format.PROMPT and _FORMAT.search(said):
        return replace(abilities, format=Format(abilities.format + 1))
    if abilities.token_field == "max_tokens" and "max_completion_tokens" in said:  # noqa: S105 (a field's name)
        return replace(abilities, token_field="max_completion_tokens")  # noqa: S106 (a field's name)
    if abilities.temperature and "temperature" in said:
        return replace(abilities, temperature=False)
    return None


def _said(error: openai.APIStatusError) -> str:
    """Return what the server says of its refusal; to be matched, never to be shown."""
    body = error.body if isinstance(error.body, dict) else {}
    parts = (error.code, error.type, error.param, body.get("code"), body.get("message"), error.message)
    return " ".join(str(part)[:2000] for part in parts if part)


def _status_failure(error: openai.APIStatusError) -> ProcessingError:
    """Return what an HTTP status means."""
    status, said = error.status_code, _said(error)
    if status == 402 or (status == 429 and _QUOTA.search(said)):
        return Permanent("The model endpoint's quota is used up; an operator must raise it.", code="quota")
    if status == 429:
        wait = retry_after(error.response.headers, datetime.now(UTC))
        return Throttled("The model endpoint asked to slow down.", key="model", retry_after=wait)
    if status >= 500 or status in (408, 409, 425):
        wait = retry_after(error.response.headers, datetime.now(UTC))
        return Transient(f"The model endpoint failed (HTTP {status}).", code="model_error", retry_after=wait)
    if status == 413 or (status in (400, 422) and _CONTEXT.search(said)):
        return Permanent("The document is too long for the model.", code="context_length")
    return _refusals().get(status) or Permanent(
        f"The model endpoint refused the request (HTTP {status}).", code="model_refused_request"
    )


def _refusals() -> dict[int, Permanent]:
    """Return the statuses that an operator must act on, each with its sentence."""
    moved = Permanent(
        "The model endpoint redirects; set its final address (LLM_BASE_URL).", code="model_moved"
    )
    return {
        401: Permanent("The model endpoint refused the API key (LLM_API_KEY).", code="model_auth"),
        403: Permanent("The API key may not use this model (LLM_API_KEY, LLM_MODEL).", code="model_auth"),
        404: Permanent(
            "The model endpoint does not know this model or address (LLM_MODEL, LLM_BASE_URL).",
            code="model_not_found",
        ),
        301: moved,
        302: moved,
        307: moved,
        308: moved,
    }


def _no_answer() -> Transient:
    """Return the failure of a response that is no chat completion or holds no text."""
    return Transient("The model endpoint answered without an answer.", code="model_no_answer")


def _read(completion: object, messages: list[Message]) -> Reply:
    """Return the reply in a response.

    Raises:
        Transient: it is no chat completion (the SDK hands out a string for a text response), or
            has no choice or no text.
        Permanent: the model or the endpoint's filter declined.
    """
    if (
        not isinstance(completion, ChatCompletion)
        or not isinstance(completion.choices, list)
        or not completion.choices
    ):
        raise _no_answer()
    choice = completion.choices[0]
    message = getattr(choice, "message", None)
    content = getattr(message, "content", None)
    if getattr(message, "refusal", None) or choice.finish_reason == "content_filter":
        raise Permanent("The model declined to analyse this document.", code="model_declined")
    truncated = choice.finish_reason == "length"
    if not truncated and not (isinstance(content, str) and content.strip()):
        raise _no_answer()
    content = content if isinstance(content, str) else ""
    prompt, answered = _reported(completion)
    if prompt is None or answered is None:
        prompt = sum(estimate_tokens(entry["content"]) for entry in messages)
        return Reply(content, truncated, prompt, estimate_tokens(content), estimated=True)
    return Reply(content, truncated, prompt, answered, estimated=False)


def _reported(completion: ChatCompletion) -> tuple[int | None, int | None]:
    """Return the token counts that the endpoint reported, ``None`` where it did not."""
    usage = completion.usage
    counts = (getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None))
    prompt, answered = (count if isinstance(count, int) and count >= 0 else None for count in counts)
    return prompt, answered


class _BoundedStream(httpx2.AsyncByteStream):
    """A response body that fails instead of growing without end."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._inner:
            size += len(piece)
            if size > MAX_RESPONSE_BYTES:
                raise httpx2.ReadError("The response is too large.")
            yield piece

    async def aclose(self) -> None:
        """Close the connection's stream."""
        await self._inner.aclose()


async def _bound_response(response: httpx2.Response) -> None:
    """Bound a response's body before it is read."""
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(response.stream)
