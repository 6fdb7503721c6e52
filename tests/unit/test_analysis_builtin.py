# ruff: noqa: E501, RUF001 (each sample document stands on one line; Chinese marks are meant)
"""The built-in analyzer on texts of every kind, whole and broken."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.analysis import DOCUMENT_TYPES, Analysis, AnalysisInput, BuiltinAnalyzer
from jobs.analysis.text import MAX_CHARACTERS, sample

ARTICLE = """Tidal mills of the northern coast

For six centuries, tidal mills ground the grain of the northern coast. A tidal mill fills its pond
at high water and drives its wheel while the pond empties. The first records of such mills on this
coast name a miller called Aldous in 1312.

The ponds were costly to keep. Silt had to be dug out every spring, and storms broke the dams of
four mills in 1703 alone. Steam mills in the towns ended the trade within one generation.

Two tidal mills still stand today. The county museum repaired the wheel of the larger mill for
85,000 EUR, and visitors can see it turn twice a day. Write to mills@example.org or see
https://example.org/mills for the opening hours.
"""


def analyze(text: str, **fields: str) -> Analysis:
    return BuiltinAnalyzer().analyze(AnalysisInput(text=text, **fields))  # type: ignore[arg-type]


def test_an_article_is_told_in_its_own_sentences() -> None:
    analysis = analyze(ARTICLE)
    flat = " ".join(ARTICLE.split())
    assert 80 < len(analysis.summary) <= 700
    assert all(part.strip() in flat for part in analysis.summary.split(". ")[:1])
    assert "tidal mills" in [phrase.lower() for phrase in analysis.keyphrases]
    assert analysis.title == "Tidal mills of the northern coast"
    assert analysis.language == "en"
    assert analysis.entities["emails"] == ["mills@example.org"]
    assert analysis.entities["urls"] == ["https://example.org/mills"]
    assert analysis.entities["money"] == ["85,000 EUR"]
    assert analysis.statistics["words"] == 128
    assert analysis.statistics["reading_minutes"] == 0.5
    assert analysis.engine == "builtin"
    assert analysis.warnings == []


def test_the_same_document_gets_the_same_answer() -> None:
    assert analyze(ARTICLE) == analyze(ARTICLE)


def test_an_analysis_survives_json() -> None:
    analysis = analyze(ARTICLE)
    assert Analysis.from_json(json.loads(json.dumps(analysis.to_json()))) == analysis


@pytest.mark.parametrize(
    "broken", [{"summary": "x"}, {**analyze("x y z").to_json(), "keyphrases": "no list"}]
)
def test_json_of_another_shape_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        Analysis.from_json(broken)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "  \n\t ", "....", "\x00\x01", "--- *** ___"])
def test_a_text_without_words_gets_an_empty_summary_and_a_warning(text: str) -> None:
    analysis = analyze(text)
    assert analysis.summary == ""
    assert analysis.keyphrases == []
    assert analysis.document_type == "other"
    assert analysis.warnings


def test_markdown_stands_in_for_a_missing_text() -> None:
    analysis = BuiltinAnalyzer().analyze(
        AnalysisInput(text="", markdown="# Harbour report\n\nAll ships are in.")
    )
    assert analysis.title == "Harbour report"
    assert "ships" in analysis.summary


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=400), st.text(max_size=100))
def test_any_text_yields_storable_data(text: str, markdown: str) -> None:
    analysis = BuiltinAnalyzer().analyze(AnalysisInput(text=text, markdown=markdown, filename=markdown[:20]))
    encoded = json.dumps(analysis.to_json(), ensure_ascii=False).encode()
    assert b"\x00" not in encoded
    assert analysis.document_type in DOCUMENT_TYPES
    assert 0.0 <= analysis.document_type_confidence <= 1.0


def test_chinese_text_has_summary_and_keyphrases() -> None:
    text = "潮汐磨坊利用潮水磨面粉。潮汐磨坊在涨潮时蓄水，在退潮时推动水轮。如今只剩下两座潮汐磨坊。博物馆修复了较大磨坊的水轮。"
    analysis = analyze(text)
    assert analysis.language == "zh"
    assert "潮汐磨坊" in analysis.keyphrases
    assert "潮汐磨坊" in analysis.summary


@pytest.mark.parametrize(
    ("language", "text", "phrase"),
    [
        (
            "de",
            "Die Gezeitenmühle mahlt das Korn der Küste. Eine Gezeitenmühle füllt ihren Teich bei Flut.",
            "Gezeitenmühle",
        ),
        (
            "fr",
            "Le moulin à marée moud le grain de la côte. Un moulin à marée remplit son étang à marée haute.",
            "marée",
        ),
        (
            "ru",
            "Приливная мельница мелет зерно. Приливная мельница наполняет пруд во время прилива.",
            "Приливная мельница",
        ),
    ],
)
def test_other_languages_use_their_own_stop_words(language: str, text: str, phrase: str) -> None:
    analysis = analyze(text)
    assert analysis.language == language
    assert any(phrase in found for found in analysis.keyphrases)
    assert not {"die", "der", "le", "la", "во", "un"} & {found.lower() for found in analysis.keyphrases}


def test_a_receipt_is_told_in_one_line() -> None:
    text = "NORTH STAR BAKERY LTD\n12 Mill Lane\nDate: 25/12/2024 08:13\nCashier: Ann\nBread 3.20\nTotal: 5.70\nCash 10.00\nChange 4.30\nThank you, please come again"
    analysis = analyze(text)
    assert analysis.document_type == "receipt"
    assert analysis.summary == "Receipt from NORTH STAR BAKERY LTD dated 2024-12-25, total 5.70."
    assert analysis.keyphrases == []


def test_a_table_is_told_by_its_columns() -> None:
    text = "Team\tCity\tCups\nBlues\tNorth\t1\nReds\tSouth\t2"
    analysis = analyze(text, media_type="text/csv", filename="a.csv")
    assert analysis.document_type == "spreadsheet"
    assert analysis.summary == "A table of 2 rows with the columns Team, City and Cups."


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("invoice", "INVOICE\nInvoice No: 12\nBill to: Ann\nUnit price 3.00\nSubtotal 3.00\nVAT 0.60\nAmount due 3.60"),
        ("letter", "Dear Ms Hale,\n\nI am writing to thank you for the loan of the wheel.\n\nYours sincerely,\nBob"),
        ("contract", "LEASE AGREEMENT\n\nThis agreement is made by and between the owner and the tenant. The parties agree as follows. The tenant shall pay rent. Governing law: Norway."),
        ("license", 'The Mill License\n\nCopyright (c) 2024 Ann\n\nPermission is hereby granted to anyone. The work is provided "as is", without warranty.'),
        ("email", "From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: The wheel\nDate: Mon, 4 Mar 2024\n\nHi Bob, the wheel turns."),
        ("paper", "On wheels\n\nAbstract\nIn this paper we propose a wheel. Results show that it turns [1].\n\n1. Introduction\nWheels, as Ann et al. say.\n\nReferences\n[1] Ann."),
        ("resume", "Ann Hale\nCurriculum Vitae\n\nWork experience\n2019 - present Miller\n\nEducation\nMill school\n\nSkills\nMilling"),
        ("manual", "Wheel\n\nInstallation\n\npip install wheel\n\nUsage\n\nSee the following command. User guide below.\n\nTroubleshooting\nNone."),
        ("minutes", "MINUTES of the mill board\n\nAttendees: Ann, Bob\n\nThe meeting was called to order. Motion carried.\nAction items: none. Adjourned."),
        ("medical report", "DISCHARGE SUMMARY\nPatient name: Ann\nDate of birth: 1970-01-01\nDiagnosis: fracture\nMedication: none\nBlood pressure 120/80 mmHg"),
        ("form", "APPLICATION FORM\nPlease complete in capitals.\nName: ________\nDate of birth: ________\nSignature ________"),
        ("code", "import os\n\ndef turn(wheel):\n    return wheel\n\nclass Mill:\n    pass\n"),
        ("other", "The wheel turns. The pond empties."),
    ],
)  # fmt: skip
def test_cues_tell_the_kind(kind: str, text: str) -> None:
    assert analyze(text).document_type == kind


def test_media_type_tells_the_kind_when_the_text_does_not() -> None:
    presentation = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    assert analyze("Wheels of the coast", media_type=presentation).document_type == "presentation"


@pytest.mark.parametrize("title", ["Untitled", "a.docx", "Microsoft Word - x", "scan"])
def test_a_stated_title_that_says_nothing_is_passed_over(title: str) -> None:
    assert analyze(ARTICLE, title=title, filename="scan.pdf").title == "Tidal mills of the northern coast"


def test_a_long_text_is_sampled_to_its_end_and_its_figures_are_of_the_whole() -> None:
    lines = [f"Paragraph {number} tells of the harbour and of its ships.\n\n" for number in range(20_000)]
    text = "".join(lines)
    sampled = sample(text)
    assert text[:100] == sampled[:100]
    assert MAX_CHARACTERS * 0.9 < len(sampled) < MAX_CHARACTERS * 1.1
    numbers = [int(number) for number in re.findall(r"Paragraph (\d+) tells", sampled)]
    assert numbers == sorted(set(numbers))
    assert max(numbers) > 19_900
    analysis = BuiltinAnalyzer().analyze(AnalysisInput(text=text, language="en"))
    words = analysis.statistics["words"]
    assert isinstance(words, int)
    assert abs(words - 200_000) < 6_000
    assert "Its figures are estimates." in analysis.warnings[0]
