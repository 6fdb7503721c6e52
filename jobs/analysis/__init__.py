"""Says of an extracted document what it is, what it is about and what it contains.

A pure library: text goes in, an ``Analysis`` comes out; no database, no Redis, no web. Two
analyzers share one protocol::

    model            AnalysisInput -> Analyzer -> Analysis
      ├── builtin            rules and statistics, no network
      │     ├── text             clean text, blocks, sentences, words
      │     ├── language         language and script
      │     ├── stopwords        words without a topic
      │     ├── kinds            what kind of document
      │     ├── keyphrases       what it is about
      │     ├── summary          its own sentences, ranked
      │     ├── titles, receipts, entities, figures
      └── openai_analyzer    a language model behind an OpenAI-compatible endpoint
            ├── excerpt          what the model is shown, what to doubt afterwards
            ├── answer           prompt, schema, reading the answer
            └── endpoint         one call and what its failures mean (imports the SDK)

Imports point downwards, and from the second analyzer to the first, whose counts and entities it
takes over. Outside this package only ``jobs.errors`` and ``jobs.model`` are imported. The SDK is
loaded by the first ``OpenAIAnalyzer``, because it takes over a second.
"""

from __future__ import annotations

from jobs.analysis.builtin import BuiltinAnalyzer
from jobs.analysis.model import DOCUMENT_TYPES, Analysis, AnalysisInput, Analyzer
from jobs.analysis.openai_analyzer import OpenAIAnalyzer

__all__ = [
    "DOCUMENT_TYPES",
    "Analysis",
    "AnalysisInput",
    "Analyzer",
    "BuiltinAnalyzer",
    "OpenAIAnalyzer",
]
