import csv
import io
import re
import zipfile

import pytest

from jobs.extraction import Table
from webapp.table_files import to_csv, to_xlsx

FORMULAS = ["=1+2", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+2"]


def parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        return {name: book.read(name).decode() for name in book.namelist() if name.endswith(".xml")}


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_of_a_csv_begins_as_a_formula(cell):
    assert list(csv.reader(io.StringIO(to_csv(Table([["a", cell]])), newline=""))) == [["a", "'" + cell]]


@pytest.mark.parametrize(
    "cell", ["-81", "+4.5 %", "-1,234.50", "-12%", "plain", "", "'quoted", 'say "hi", all', "two\nlines"]
)
def test_numbers_and_words_come_back_from_a_csv_as_they_are(cell):
    assert list(csv.reader(io.StringIO(to_csv(Table([[cell, "b"]])), newline=""))) == [[cell, "b"]]


def test_a_workbook_has_no_formula_and_no_link():
    cells = [*FORMULAS, "{=A1}", "http://evil.example/", "mailto:a@b.example", "internal:Sheet1!A1"]
    sheet = parts(to_xlsx([Table([cells])]))["xl/worksheets/sheet1.xml"]
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet
    assert sheet.count('t="s"') == len(cells)


def test_numbers_of_a_workbook_are_numbers_where_nothing_is_lost():
    numbers, words = ["42", "-81", "3.25", "0"], ["007", "12345678901234567890", "1e5", "+4", "1,000", "٣"]
    found = parts(to_xlsx([Table([numbers + words])]))
    cells = re.findall(r'<c r="[A-Z]1"( t="s")?><v>([^<]*)</v>', found["xl/worksheets/sheet1.xml"])
    assert [value for is_text, value in cells if not is_text] == numbers
    assert re.findall(r"<t>([^<]*)</t>", found["xl/sharedStrings.xml"]) == words


def test_sheets_are_named_by_titles_as_spreadsheets_allow():
    titles = ["Sales: 2024/Q1 [draft]", "x" * 40, "X" * 40, None, "History", "'q'"]
    found = parts(to_xlsx([Table([["a"]], title=title) for title in titles]))["xl/workbook.xml"]
    names = re.findall(r'<sheet name="([^"]+)"', found)
    assert names == ["Sales  2024 Q1  draft", "x" * 31, "X" * 27 + " (2)", "Table 4", "Table", "q"]


def test_a_workbook_without_tables_says_so():
    assert 'name="No tables"' in parts(to_xlsx([]))["xl/workbook.xml"]
