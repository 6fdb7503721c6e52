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
from jobs.analysis.summary import Extract
from jobs.analysis.tables import describe_table
from jobs.analysis.text import (
    MAX_CHARACTERS,
    Block,
    Sentence,
    clean,
    one_line,
    read_blocks,
    split_sentences,
    strip_tags,
    words_of,
)
from jobs.analysis.titles import find_title

_PURCHASES = ("receipt", "invoice")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document's text, cleaned, cut to the limit and taken apart.

    Attributes:
        warnings: sentences for the reader about what was left out.
    """

    text: str
    markdown: str
    language: str | None
    blocks: list[Block]
    sentences: list[Sentence]
    warnings: list[str]


def prepare(document: AnalysisInput) -> Prepared:
    """Clean a document's text, cut it to ``MAX_CHARACTERS``, find its language and sentences."""
    source = document.text if document.text.strip() else document.markdown
    warnings = []
    if len(source) > MAX_CHARACTERS:
        warnings.append(f"Only the first {MAX_CHARACTERS:,} of {len(source):,} characters were analysed.")
    text = strip_tags(clean(source[:MAX_CHARACTERS]))
    markdown = clean(document.markdown[:MAX_CHARACTERS]) if document.markdown.strip() else text
    language = document.language or detect_language(text)
    blocks = read_blocks(text)
    if language is None and len(text) > 200:
        warnings.append("The language could not be told; the text may be garbled.")
    return Prepared(text, markdown, language, blocks, split_sentences(blocks), warnings)


class BuiltinAnalyzer:
    """Analyses with rules and statistics; the same document always gets the same answer."""

    name = "builtin"
    version = "builtin-1"

    def analyze(self, document: AnalysisInput) -> Analysis:
        """Analyse one document; takes about 3 s of CPU per million characters.

        Args:
            document: any text, however broken; an empty one gets an empty summary and a warning.
        """
        prepared = prepare(document)
        kind, confidence = classify(prepared.text, document.media_type, document.filename)
        purchase = read_purchase(prepared.text) if kind in _PURCHASES else None
        told = purchase.sentence(kind) if purchase else None
        tabled = describe_table(prepared.markdown) if kind == "spreadsheet" else None
        keyphrases, extract = self._rank(prepared)
        if not words_of(prepared.text):
            kind, confidence = "other", 0.0
            prepared.warnings.append("The document has no text to analyse.")
        return Analysis(
            summary=told or tabled or extract.summary(),
            keyphrases=[] if told else keyphrases,
            document_type=kind,
            document_type_confidence=confidence,
            title=find_title(document.title, prepared.markdown, prepared.blocks, document.filename),
            language=prepared.language,
            key_points=[] if told or tabled else [one_line(point, 300) for point in extract.key_points()],
            entities=find_entities(prepared.text),
            statistics=measure(prepared.text, prepared.blocks, prepared.sentences, prepared.language),
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
