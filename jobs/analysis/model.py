"""What goes into an analysis and what comes out; no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, cast

from jobs.model import JSON

DOCUMENT_TYPES = (
    "invoice",
    "receipt",
    "contract",
    "license",
    "letter",
    "email",
    "report",
    "paper",
    "news",
    "resume",
    "manual",
    "presentation",
    "form",
    "spreadsheet",
    "minutes",
    "medical report",
    "book",
    "code",
    "other",
)


@dataclass(frozen=True, slots=True)
class AnalysisInput:
    """An extracted document, as the extract stage hands it over.

    Attributes:
        text: the plain text, possibly empty.
        markdown: the same with headings and tables, possibly empty.
        title: what the file itself says is its title, or ``None``.
        language: ISO 639-1 code found by the extraction, or ``None`` to have it detected here.
        media_type: the detected media type, such as ``application/pdf``.
        filename: the name at upload; only its extension is judged.
        metadata: what else the file says of itself.
    """

    text: str
    markdown: str = ""
    title: str | None = None
    language: str | None = None
    media_type: str = ""
    filename: str = ""
    metadata: dict[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What an analyzer says of one document. Every string in it is data, never markup.

    Attributes:
        summary: a few sentences; empty when the document has no text.
        keyphrases: best first, in the document's own spelling.
        document_type: one of ``DOCUMENT_TYPES``.
        document_type_confidence: 0.0 to 1.0; a rank, not a calibrated probability.
        title: the document's title, or ``None`` when no line looks like one.
        language: ISO 639-1 code, or ``None`` when the text is too short to tell.
        key_points: sentences worth reading, in the document's order.
        entities: kind (``emails``, ``urls``, ``money``, ``dates``...) to its distinct values.
        statistics: counts and derived figures; ``reading_minutes`` is in minutes.
        engine: ``"builtin"`` or ``"llm"``.
        model: the language model's name, or ``None`` for the built-in analyzer.
        usage: ``prompt_tokens``, ``completion_tokens``, ``requests`` and ``estimated``
            (1 when the endpoint did not report its usage); ``None`` for the built-in analyzer.
        warnings: sentences for the reader about what this analysis left out or doubts.
    """

    summary: str
    keyphrases: list[str]
    document_type: str
    document_type_confidence: float
    title: str | None
    language: str | None
    key_points: list[str]
    entities: dict[str, list[str]]
    statistics: dict[str, JSON]
    engine: str
    model: str | None = None
    usage: dict[str, int] | None = None
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, JSON]:
        """Return the analysis as JSON-serialisable data."""
        return {
            "summary": self.summary,
            "keyphrases": list(self.keyphrases),
            "document_type": self.document_type,
            "document_type_confidence": self.document_type_confidence,
            "title": self.title,
            "language": self.language,
            "key_points": list(self.key_points),
            "entities": {kind: list(values) for kind, values in self.entities.items()},
            "statistics": dict(self.statistics),
            "engine": self.engine,
            "model": self.model,
            "usage": dict(self.usage) if self.usage is not None else None,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: dict[str, JSON]) -> Analysis:
        """Rebuild an analysis that ``to_json`` wrote.

        Args:
            data: what ``to_json`` returned; ``model``, ``usage`` and ``warnings`` may be missing.

        Raises:
            KeyError: a field is missing.
            TypeError: a field has another shape.
        """
        usage = data.get("usage")
        return cls(
            summary=str(data["summary"]),
            keyphrases=_strings(data["keyphrases"]),
            document_type=str(data["document_type"]),
            document_type_confidence=float(cast("float", data["document_type_confidence"])),
            title=_optional(data["title"]),
            language=_optional(data["language"]),
            key_points=_strings(data["key_points"]),
            entities={kind: _strings(values) for kind, values in _object(data["entities"]).items()},
            statistics=_object(data["statistics"]),
            engine=str(data["engine"]),
            model=_optional(data.get("model")),
            usage=None if usage is None else cast("dict[str, int]", _object(usage)),
            warnings=_strings(data.get("warnings", [])),
        )


class Analyzer(Protocol):
    """Turns an extracted document into an ``Analysis``.

    Attributes:
        name: a short name for people and logs.
        version: changes whenever the same document could be answered differently; it is
            part of the artifact's cache key.
    """

    @property
    def name(self) -> str:
        """A short name for people and logs."""

    @property
    def version(self) -> str:
        """The part of the cache key that stands for this analyzer."""

    def analyze(self, document: AnalysisInput) -> Analysis:
        """Analyse one document.

        Raises:
            Transient: another try may succeed.
            Permanent: trying again cannot help.
        """


def _object(value: JSON) -> dict[str, JSON]:
    """Return ``value`` when it is an object, raise ``TypeError`` otherwise."""
    if not isinstance(value, dict):
        raise TypeError("An analysis has a field of another shape.")
    return value


def _strings(value: JSON) -> list[str]:
    """Return ``value`` when it is a list, its elements as strings; raise ``TypeError`` otherwise."""
    if not isinstance(value, list):
        raise TypeError("An analysis has a field of another shape.")
    return [str(element) for element in value]


def _optional(value: JSON) -> str | None:
    """Return ``None`` as it is and anything else as a string."""
    return None if value is None else str(value)
