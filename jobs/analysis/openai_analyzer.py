"""The analyzer that asks a language model behind an OpenAI-compatible endpoint.

The model writes summary, key points, keyphrases, title and type; counts, entities and language
come from the built-in rules, so that no figure depends on a model.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.analysis.answer import (
    PROMPT_VERSION,
    Answer,
    Message,
    RefusedAnswer,
    asked_again,
    first_messages,
    read_answer,
)
from jobs.analysis.builtin import BuiltinAnalyzer, Prepared, prepare
from jobs.analysis.entities import find_entities
from jobs.analysis.excerpt import addresses_a_model, excerpt, invented_numbers
from jobs.analysis.figures import measure
from jobs.analysis.kinds import classify
from jobs.analysis.model import Analysis, AnalysisInput
from jobs.analysis.text import words_of
from jobs.errors import ConfigurationError, Permanent

if TYPE_CHECKING:
    import openai

    from jobs.analysis.endpoint import Reply

DEFAULT_MAX_INPUT_CHARS = 40_000
_LEAST_INPUT_CHARS = 1_000
_ANSWER_TOKENS = 1_500
_LONGER_ANSWER_TOKENS = 6_000
_SURE = 0.75


@dataclass(slots=True)
class _Usage:
    """Tokens over all calls of one analysis."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    estimated: bool = False

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.requests += 1
        self.estimated |= reply.estimated

    def to_json(self) -> dict[str, int]:
        """Return the counts; ``estimated`` as 0 or 1."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "requests": self.requests,
            "estimated": int(self.estimated),
        }


class OpenAIAnalyzer:
    """Analyses with a language model; one document costs one call, four at the very worst.

    Args:
        base_url: the API's root, such as ``https://api.openai.com/v1``.
        api_key: the key, or empty for a server that wants none.
        model: the model's name as the server knows it.
        timeout_seconds: the longest time for all calls of one analysis together, over 0.
        max_input_chars: the most document characters shown to the model, at least 1000; longer
            documents are cut to their beginning, middle and end.

    Raises:
        ConfigurationError: an argument cannot work.
    """

    name = "llm"

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        timeout_seconds: float = 60,
        max_input_chars: int = DEFAULT_MAX_INPUT_CHARS,
    ) -> None:
        self._host = _host(base_url)
        if not api_key.isascii() or any(not character.isprintable() for character in api_key.strip()):
            raise ConfigurationError("LLM_API_KEY contains characters that no HTTP header can carry.")
        if timeout_seconds <= 0 or max_input_chars < _LEAST_INPUT_CHARS:
            raise ConfigurationError("The model's time limit or input limit is too small.")
        from jobs.analysis.endpoint import Endpoint

        self._endpoint = Endpoint(base_url=base_url, api_key=api_key.strip(), model=model)
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._max_input_chars = max_input_chars

    @property
    def version(self) -> str:
        """Prompt version, model, host and the built-in rules' version; never the key."""
        return f"llm-{PROMPT_VERSION}:{self._model}@{self._host}+{BuiltinAnalyzer.version}"

    def analyze(self, document: AnalysisInput) -> Analysis:
        """Analyse one document; must not be called inside a running event loop.

        A document without text is answered by the built-in analyzer and costs no call.

        Raises:
            Transient: the endpoint is busy, unreachable, late or answers without an answer.
            Permanent: the endpoint refuses for good, or the answer stays invalid.
        """
        prepared = prepare(document)
        if not words_of(prepared.text):
            return BuiltinAnalyzer().analyze(document)
        usage = _Usage()
        answer, shown = asyncio.run(self._within_deadline(prepared.text, document.filename, usage))
        warnings = [*prepared.warnings, *self._doubts(prepared, document, answer, shown)]
        return Analysis(
            summary=answer.summary,
            keyphrases=answer.keyphrases,
            document_type=answer.document_type,
            document_type_confidence=answer.confidence,
            title=answer.title,
            language=prepared.language,
            key_points=answer.key_points,
            entities=find_entities(prepared.text),
            statistics=measure(prepared.text, prepared.blocks, prepared.sentences, prepared.language),
            engine="llm",
            model=self._model,
            usage=usage.to_json(),
            warnings=warnings,
        )

    async def _within_deadline(self, text: str, filename: str, usage: _Usage) -> tuple[Answer, str]:
        """Converse, and end at the deadline whatever the server does.

        Returns:
            The answer and the part of the text that the model was shown.

        Raises:
            Transient: the deadline passed; otherwise as ``_converse``.
        """
        from jobs.analysis.endpoint import timed_out

        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._endpoint.client(self._timeout_seconds) as client,
            ):
                return await self._converse(client, text, filename, usage)
        except TimeoutError:
            pass
        raise timed_out()

    async def _converse(
        self, client: openai.AsyncOpenAI, text: str, filename: str, usage: _Usage
    ) -> tuple[Answer, str]:
        """Ask; once more with less text if it was too long.

        Raises:
            Transient: as ``Endpoint.ask``.
            Permanent: as ``Endpoint.ask`` and ``_settle``.
        """
        shown = excerpt(text, self._max_input_chars)
        try:
            return await self._settle(client, first_messages(shown, filename), usage), shown
        except Permanent as error:
            if error.code != "context_length":
                raise
        shown = excerpt(text, max(500, len(shown) // 4))
        return await self._settle(client, first_messages(shown, filename), usage), shown

    async def _settle(self, client: openai.AsyncOpenAI, messages: list[Message], usage: _Usage) -> Answer:
        """Ask until the answer is valid, but only once more for each kind of fault.

        Raises:
            Transient: as ``Endpoint.ask``.
            Permanent: as ``Endpoint.ask``; code ``output_truncated`` or ``invalid_output`` when the
                second answer is no better than the first.
        """
        reply = await self._ask_whole(client, messages, usage)
        try:
            return read_answer(reply.content)
        except RefusedAnswer as refusal:
            again = asked_again(messages, reply.content, refusal.reason)
        reply = await self._ask_whole(client, again, usage)
        try:
            return read_answer(reply.content)
        except RefusedAnswer:
            pass
        raise Permanent("The model answered twice with invalid JSON.", code="invalid_output")

    async def _ask_whole(self, client: openai.AsyncOpenAI, messages: list[Message], usage: _Usage) -> Reply:
        """Ask, and ask again with more room when the answer ended at its limit.

        Raises:
            Permanent: the longer answer was cut as well; otherwise as ``Endpoint.ask``.
            Transient: as ``Endpoint.ask``.
        """
        for max_tokens in (_ANSWER_TOKENS, _LONGER_ANSWER_TOKENS):
            reply = await self._endpoint.ask(client, messages, max_tokens=max_tokens)
            usage.add(reply)
            if not reply.truncated:
                return reply
        raise Permanent("The model's answer did not fit into its output limit.", code="output_truncated")

    def _doubts(self, prepared: Prepared, document: AnalysisInput, answer: Answer, shown: str) -> list[str]:
        """Return what a reader should know before trusting the answer."""
        doubts = []
        if shown != prepared.text:
            doubts.append(
                f"The model read {len(shown):,} of {len(prepared.text):,} characters: "
                "parts of the beginning, the middle and the end."
            )
        if addresses_a_model(prepared.text):
            doubts.append(
                "The document contains phrases that try to steer a language model; check the summary."
            )
        written = " ".join((answer.summary, *answer.key_points))
        if invented_numbers(written, prepared.text):
            doubts.append("The model's summary contains figures that are not in the document.")
        kind, confidence = classify(prepared.text, document.media_type, document.filename)
        if confidence >= _SURE and kind not in ("other", answer.document_type):
            doubts.append(f"The built-in rules judge this document to be of the type {kind}.")
        return doubts


def _host(base_url: str) -> str:
    """Return the host and port of the address.

    Raises:
        ConfigurationError: it is no HTTP address, or it carries a user name or password.
    """
    try:
        parts = urllib.parse.urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urllib.parse.urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("LLM_BASE_URL must be an address such as https://host/v1.")
    if parts.username or parts.password:
        raise ConfigurationError("LLM_BASE_URL must not carry a password; use LLM_API_KEY.")
    return f"{host}:{port}" if port else host
