"""The analyzer that needs no network and no key: plain Python over the document's own words."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.analysis.entities import find_entities
from jobs.analysis.figures import measure
from jobs.analysis.keyphrases import find_keyphrases
from jobs.analysis.kinds import classify
from jobs.analysis.language import detect_language, is_unspaced
from jobs.analysis.model import Analysis, AnalysisInput
from jobs.analysis.receipts import read_purchase
from jobs.analysis.stopwords import guess_stop_words, has_stop_words, stop_words
from jobs.analysis.summary import Extract, reads_like_code
from jobs.analysis.tables import describe_table
from jobs.analysis.text import (
    MAX_CHARACTERS,
    Block,
    Sentence,
    clean,
    has_words,
    one_line,
    read_blocks,
    sample,
    split_sentences,
    strip_tags,
    words_of,
)
from jobs.analysis.titles import find_title

_PURCHASES = ("receipt", "invoice")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document's text, cleaned, a sample of it if it is long, and taken apart.

    Attributes:
        warnings: sentences for the reader about what was left out.
        share: how much of the document the text is, 1.0 for all.
    """

    text: str
    markdown: str
    language: str | None
    blocks: list[Block]
    sentences: list[Sentence]
    warnings: list[str]
    share: float


def prepare(document: AnalysisInput) -> Prepared:
    """Clean a document's text, or a sample of a long one, find its language and sentences."""
    source = document.text if document.text.strip() else document.markdown
    warnings = []
    shown = source
    if len(source) > MAX_CHARACTERS:
        warnings.append(
            f"About {MAX_CHARACTERS:,} of {len(source):,} characters were analysed: the beginning, and "
            "samples of the rest. Its figures are estimates."
        )
        shown = sample(source)
    text = strip_tags(clean(shown))
    markdown = clean(document.markdown[:MAX_CHARACTERS]) if document.markdown.strip() else text
    language = document.language or detect_language(text)
    blocks = read_blocks(text)
    if language is None and len(text) > 200:
        warnings.append("The language could not be told; the text may be garbled.")
    share = len(shown) / len(source) if source else 1.0
    return Prepared(text, markdown, language, blocks, split_sentences(blocks), warnings, share)


class BuiltinAnalyzer:
    """Analyses with rules and statistics; the same document always gets the same answer."""

    name = "builtin"
    version = "builtin-2"

    def analyze(self, document: AnalysisInput) -> Analysis:
        """Analyse one document; takes about a second of CPU at most, however long it is.

        Args:
            document: any text, however broken; an empty one gets an empty summary and a warning.
        """
        prepared = prepare(document)
        kind, confidence = classify(prepared.text, document.media_type, document.filename)
        if not has_words(prepared.text):
            kind, confidence = "other", 0.0
            prepared.warnings.append("The document has no text to analyse.")
        told = _described(kind, prepared)
        keyphrases, extract = self._rank(prepared)
        return Analysis(
            summary=told or extract.summary(),
            keyphrases=[] if told and kind in _PURCHASES else keyphrases,
            document_type=kind,
            document_type_confidence=confidence,
            title=find_title(document.title, prepared.markdown, prepared.blocks, document.filename),
            language=prepared.language,
            key_points=[] if told else [one_line(point, 300) for point in extract.key_points()],
            entities=find_entities(prepared.text),
            statistics=measure(
                prepared.text, prepared.blocks, prepared.sentences, prepared.language, prepared.share
            ),
            engine="builtin",
            warnings=prepared.warnings,
        )

    def _rank(self, prepared: Prepared) -> tuple[list[str], Extract]:
        """Return the keyphrases and the ranked sentences."""
        stop = stop_words(prepared.language)
        if not has_stop_words(prepared.language):
            stop |= guess_stop_words(word.lower() for word in words_of(prepared.text[:200_000]))
        keyphrases = find_keyphrases(prepared.sentences, stop, unspaced=is_unspaced(prepared.text))
        return keyphrases, Extract(prepared.blocks, prepared.sentences, keyphrases, stop)


def _described(kind: str, prepared: Prepared) -> str | None:
    """Return a sentence about a document whose own sentences would not tell what it is.

    Returns:
        Vendor, date and total of a purchase, a table's columns, or the length of bare source
        code; ``None`` for all other documents and where those were not found.
    """
    if kind in _PURCHASES:
        return read_purchase(prepared.text).sentence(kind)
    if kind == "spreadsheet":
        return describe_table(prepared.markdown)
    if kind == "code" and not any(one.prose and not reads_like_code(one.text) for one in prepared.sentences):
        lines = sum(bool(line.strip()) for line in prepared.text.split("\n"))
        return f"Source code of {lines:,} lines."
    return None
