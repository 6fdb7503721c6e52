import importlib.util

import pytest

from jobs.extraction import ENGINE_VERSION, Extraction, Limits, registry
from jobs.extraction import media_types as mt
from jobs.extraction.dates import iso
from jobs.extraction.decoding import decode, decode_html, html_title
from jobs.extraction.faults import Fault, FaultCode, as_error
from jobs.extraction.markdown import escape, fence, first_heading, table, to_plain
from jobs.extraction.readers.delimited import guess_delimiter, parse
from jobs.extraction.versions import OWN_REVISION


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfplain", "plain"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("plain text without a mark".encode("utf-16-le"), "plain text without a mark"),
        ("plain text without a mark".encode("utf-16-be"), "plain text without a mark"),
        ("día — naïve — 日本".encode(), "día — naïve — 日本"),
        (b"", ""),
    ],
)
def test_unicode_texts_are_decoded_with_and_without_a_mark(data, text):
    assert decode(data)[0] == text


def test_an_old_encoding_is_guessed_from_the_letters():
    russian = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5
    assert decode(russian.encode("windows-1251"))[0] == russian


def test_a_damaged_character_in_a_unicode_text_is_told():
    text, encoding, warnings = decode("Größe und Maße, Übung, Äste, ".encode() * 9 + b"\xff")
    assert (encoding, text[-1]) == ("utf-8", "\ufffd")
    assert warnings == ["1 characters could not be decoded and were replaced."]


def test_a_web_page_is_believed_about_its_encoding_and_else_taken_for_windows_1252():
    assert "Ж" in decode_html('<meta charset="windows-1251">Ж'.encode("windows-1251"))[0]
    french = "<p>L'été très chaud à Besançon, où l'élève naïf ça et là</p>"
    assert decode_html(french.encode("windows-1252"))[0] == french
    assert html_title("<html><title>A &amp; B\n c</title>") == "A & B c"


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b\n1,5;2\n3,5;4\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b|c\n1|2,5|3\n", "|"),
        ("one column\nonly\n", ","),
        ("", ","),
    ],
)
def test_the_delimiter_is_the_one_that_divides_lines_evenly(text, delimiter):
    assert guess_delimiter(text) == delimiter


def test_an_unclosed_quotation_mark_costs_no_rows():
    text = "name,value\n" + '"open,1\n' + "row,2\n" * 5000
    rows, is_broken = parse(text, ",")
    assert is_broken
    assert len(rows) == 5002
    assert rows[1] == ['"open', "1"]


def test_quoted_fields_may_span_lines():
    assert parse('a,b\n"two\nlines","say ""x"""\n', ",") == ([["a", "b"], ["two\nlines", 'say "x"']], False)


def test_a_table_escapes_what_would_break_it():
    assert table([["a", "b|c"], ["line\nbreak"]], 2).splitlines() == [
        "| a | b\\|c |",
        "| --- | --- |",
        "| line break |  |",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# no heading",
        "1. no list",
        "- no item",
        "a *b* [c](d) <e> `f` \\",
        "> no quote",
        "snake_case_name",
        "| no | table |",
    ],
)
def test_escaped_text_comes_back_unchanged(text):
    assert to_plain(escape(text)) == text


def test_plain_text_has_no_markup_left():
    markdown = (
        "# Head **bold**\n\n> quoted [link](http://x/y)\n\n* item ![pic](a.png)\n\n"
        "| a | *b* |\n| --- | :-: |\n| 1 | 2\\|3 |\n\n---\n\n```py\n# kept *as is*\n```\n"
    )
    assert to_plain(markdown) == ("Head bold\n\nquoted link\n\n- item pic\n\na\tb\n1\t2|3\n\n# kept *as is*")


def test_plain_text_of_hostile_markdown_takes_linear_time():
    assert len(to_plain("[" * 60_000 + "]" * 60_000)) == 120_000
    assert to_plain("*_" * 50_000)
    assert to_plain("> " * 50_000 + "x") == "x"


def test_a_fence_outgrows_the_backticks_inside():
    assert fence("a ```` b").startswith("`````\n")
    assert first_heading("text\n\n## **Title** here\n") == "Title here"
    assert first_heading(fence("# comment")) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("D:20201002001208Z", "2020-10-02T00:12:08+00:00"),
        ("D:20241008114040+02'00'", "2024-10-08T11:40:40+02:00"),
        ("D:2020", "2020-01-01T00:00:00"),
        ("Fri, 16 Dec 2022 17:04:16 -0500", "2022-12-16T17:04:16-05:00"),
        ("2024-07-29T20:38:11+00:00", "2024-07-29T20:38:11+00:00"),
        ("D:20209902001208Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_dates_of_all_forms_become_iso(value, expected):
    assert iso(value) == expected


def test_an_extraction_survives_json_and_rejects_bad_shapes():
    extraction = Extraction(
        text="t", markdown="m", title=None, page_count=1, language="en", metadata={"a": [1]},
        media_type="text/plain", engine="e", engine_version="v", warnings=["w"], pages=["p"],
    )  # fmt: skip
    body = extraction.to_json()
    assert Extraction.from_json(body) == extraction
    for broken in (
        {"text": 1},
        {"pages": ["x", 2]},
        {"page_count": -1},
        {"page_count": True},
        {"metadata": []},
    ):
        with pytest.raises(ValueError, match="is not"):
            Extraction.from_json({**body, **broken})


def test_every_reader_in_the_registry_exists():
    names = {name for readers in registry._BY_KIND.values() for name in readers} | set(registry._TEXT)
    for name in names:
        assert importlib.util.find_spec(f"jobs.extraction.readers.{name}"), name
    assert registry.readers_for("text/x-anything") == ("plain_text",)
    assert registry.readers_for(mt.PUB) == ()


@pytest.mark.parametrize(
    ("code", "media_type", "message"),
    [
        ("encrypted", mt.PDF, "This file is protected with a password. Try again with the password."),
        (
            "encrypted",
            mt.PAGES,
            "This file is protected with a password. Upload a copy without the password.",
        ),
        ("wrong_password", mt.PDF, "The password does not open this file. Try again with the right one."),
        ("unsupported_kind", mt.PUB, "This kind of file is not supported: Microsoft Publisher (.pub)."),
        ("unreadable", mt.PDF, "The file is damaged or not really a PDF: it could not be read."),
        ("unreadable", mt.XLSX, "The file is damaged or not really an Excel workbook: it could not be read."),
        ("unreadable", mt.XML, "The file is damaged or not really an XML document: it could not be read."),
        ("limit_memory", mt.PDF, "Reading this file needs more than 2 GB of memory; it was stopped."),
        ("limit_time", mt.PDF, "Reading this file took longer than 55 s; it was stopped."),
        ("reader_crashed", mt.PDF, "The file crashed its reader (signal 11)."),
    ],
)
def test_faults_are_told_in_a_sentence(code, media_type, message):
    fault = Fault(FaultCode(code), detail="signal 11")
    error = as_error(fault, media_type=media_type, expected=media_type, limits_text=("2 GB", "55 s"))
    assert (error.public_message, error.code, error.retryable) == (message, code, False)


def test_every_fault_code_has_a_sentence_and_only_the_environment_is_retried():
    for code in FaultCode:
        error = as_error(Fault(code), media_type=mt.PDF, expected=mt.PDF, limits_text=("2 GB", "55 s"))
        assert error.public_message.endswith(".")
        assert error.retryable is (code is FaultCode.ENVIRONMENT)


def test_the_engine_version_names_every_engine():
    assert ENGINE_VERSION.startswith(f"{OWN_REVISION}+liteparse-")
    assert "none" not in ENGINE_VERSION
    assert Limits().to_json()["max_pages"] == 5000
