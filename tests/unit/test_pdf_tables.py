"""Tables of PDF pages, put together from blocks as liteparse gives them; one character is 4 points wide."""

from __future__ import annotations

from liteparse import AnnotationRect, LayoutBlock, LayoutCell, ParsedPage, TextItem, VectorGraphics
from liteparse.types import VectorLine

from jobs.extraction import pdf_tables
from jobs.extraction.pdf_tables import Typography

WIDTH, HEIGHT, PITCH = 4.0, 10.0, 14.0
COLUMNS = (50.0, 200.0, 300.0)


class Page:
    """A page written line by line from the top."""

    def __init__(self):
        self.blocks = []
        self.items = []
        self.rules = []
        self.y = 20.0

    def write(self, text, x=50.0):
        box = (x, self.y, max(WIDTH, len(text) * WIDTH), HEIGHT)
        self.items.append(TextItem(text, *box))
        return AnnotationRect(*box)

    def paragraph(self, *lines, kind="paragraph", x=50.0):
        top = self.y
        for line in lines:
            self.write(line, x)
            self.y += PITCH
        width = max(map(len, lines)) * WIDTH
        box = AnnotationRect(x, top, width, self.y - top - PITCH + HEIGHT)
        self.blocks.append(LayoutBlock(kind, text=" ".join(lines), level=2, bbox=box))
        return self

    def table(self, *rows, columns=COLUMNS):
        top, found = self.y, []
        for row in rows:
            cells = [
                LayoutCell(text, self.write(text, x) if text else None)
                for text, x in zip(row, columns, strict=False)
            ]
            found.append(cells)
            self.y += PITCH
        box = AnnotationRect(columns[0], top, 400.0, self.y - top)
        self.blocks.append(LayoutBlock("table", header=found[0], rows=found[1:], bbox=box))
        return self

    def line(self, *parts):
        """Write what is in no block: pairs of a text and where it begins."""
        for text, x in parts:
            self.write(text, x)
        self.y += PITCH
        return self

    def rule(self, left=45.0, right=420.0):
        at = self.y - (PITCH - HEIGHT) / 2
        self.rules.append(VectorLine(left, at, right, at, True, 1.0, None, False, None))
        return self

    def markdown(self, exact=""):
        page = ParsedPage(
            1, 500, 800, "", blocks=self.blocks, text_items=self.items,
            vector_graphics=VectorGraphics([], self.rules),
        )  # fmt: skip
        assert pdf_tables.has_tables(page)
        return pdf_tables.markdown_of(page, Typography(lambda: exact))


def rows_of(markdown):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown.splitlines()
        if line.startswith("|") and "---" not in line
    ]


NUMBERS = (("North", "10", "20"), ("South", "30", "40"), ("East", "50", "60"))
OTHERS = (("Men", "11", "21"), ("Women", "31", "41"), ("Children", "51", "61"))


def test_tables_that_a_heading_between_their_rows_tore_apart_are_one():
    page = Page().table(*NUMBERS).paragraph("By sex", kind="heading").table(*OTHERS)
    markdown = page.markdown()
    assert rows_of(markdown) == [*map(list, NUMBERS), ["By sex", "", ""], *map(list, OTHERS)]
    assert markdown.count("By sex") == 1


def test_tables_with_captions_or_sentences_between_them_stay_two():
    for between in (
        "Table 2 People",
        "This sentence stands between two tables and tells of both of them, at length",
    ):
        markdown = Page().table(*NUMBERS).paragraph(between).table(*OTHERS).markdown()
        assert markdown.count("| --- | --- | --- |") == 2
        assert between in markdown


def test_tables_of_different_columns_stay_two():
    markdown = (
        Page()
        .table(*NUMBERS)
        .table(("Name", "Town"), ("Ann", "Rome"), ("Bob", "Oslo"), columns=(90.0, 400.0))
        .markdown()
    )
    assert markdown.count("---") == 5


def test_prose_taken_for_rows_goes_back_to_the_text():
    page = Page().table(*NUMBERS)
    table = page.blocks[-1]
    for words in (("Note: all", "figures are in"), ("millions of", "euros.")):
        # One space between the cells, as in a sentence.
        first = page.write(words[0])
        second = page.write(words[1], 50 + (len(words[0]) + 1) * WIDTH)
        table.rows.append([LayoutCell(words[0], first), LayoutCell(words[1], second), LayoutCell("")])
        page.y += PITCH
    table.bbox.height += 2 * PITCH
    markdown = page.markdown()
    assert rows_of(markdown) == [list(row) for row in NUMBERS]
    assert "Note: all figures are in millions of euros." in markdown


def test_what_is_prose_altogether_is_no_table():
    page = Page()
    rows = (
        ("The interim report", "included results from"),
        ("detailed analyses of", "five cycles of"),
        ("driving that were", "chosen for this"),
        ("purpose by a group", "of people who know."),
    )
    block = LayoutBlock("table", rows=[], bbox=AnnotationRect(50, page.y, 200, 4 * PITCH))
    for left, right in rows:
        cells = ((left, 50.0), (right, 50 + (len(left) + 1) * WIDTH))
        block.rows.append([LayoutCell(text, page.write(text, x)) for text, x in cells])
        page.y += PITCH
    page.blocks.append(block)
    markdown = page.markdown()
    assert "|" not in markdown
    assert "included results from detailed analyses of" in markdown


def test_a_left_column_that_was_left_out_is_taken_in_and_written_once():
    page = Page()
    names = ("Argentina", "Australia", "Austria")
    top = page.y
    for name in names:
        page.blocks.append(LayoutBlock("paragraph", text=name, bbox=page.write(name)))
        page.y += PITCH
    page.y = top
    page.table(*(row[1:] for row in NUMBERS), columns=COLUMNS[1:])
    markdown = page.markdown()
    assert rows_of(markdown) == [[name, *row[1:]] for name, row in zip(names, NUMBERS, strict=True)]
    assert markdown.count("Australia") == 1


def test_lines_within_the_rules_of_a_table_are_its_rows():
    page = (
        Page()
        .rule()
        .line(("Total", 200.0), ("Share", 300.0))
        .table(*NUMBERS)
        .line(("West", 50.0), ("70", 200.0))
    )
    page.rule().line(("Beside the table", 50.0))
    assert rows_of(page.markdown()) == [["", "Total", "Share"], *map(list, NUMBERS), ["West", "70", ""]]


def test_a_heading_of_several_lines_is_one_row_unless_a_rule_parts_it():
    heading = (("", "Number of", "Share of"), ("Region", "schools", "schools"))
    assert rows_of(Page().table(*heading, *NUMBERS).markdown())[0] == [
        "Region",
        "Number of schools",
        "Share of schools",
    ]
    page = Page().table(heading[0], heading[1], *NUMBERS)
    page.rules.append(VectorLine(195, 32, 420, 32, True, 1.0, None, False, None))
    assert [list(row) for row in heading] == rows_of(page.markdown())[:2]


def test_a_chart_is_no_table():
    columns = tuple(40.0 * number for number in range(1, 12))
    rows = [["200" + str(place), *("9" if one == place else "" for one in range(10))] for place in range(6)]
    markdown = Page().table(*rows, columns=columns).markdown()
    assert "|" not in markdown
    assert "2001" in markdown


def test_dashes_and_quotation_marks_are_those_of_the_document():
    rows = (("1996-97", "it's", "-"), ("1997-98", "a-b", "-"), ("1998-99", "x", "-"))
    exact = (
        "1996\N{EN DASH}97 1997\N{EN DASH}98 it\N{RIGHT SINGLE QUOTATION MARK}s "
        "a-b a\N{EN DASH}b \N{EM DASH} \N{EM DASH}"
    )
    found = rows_of(Page().table(*rows).markdown(exact))
    assert found[0] == ["1996\N{EN DASH}97", "it\N{RIGHT SINGLE QUOTATION MARK}s", "\N{EM DASH}"]
    # What is written in two ways, or not known, stays as it was.
    assert found[1][1] == "a-b"
    assert found[2][0] == "1998-99"


def test_no_word_is_lost_between_the_rows_of_a_table():
    page = Page().table(*NUMBERS)
    page.y = 34.0
    page.blocks.append(LayoutBlock("paragraph", text="apart", bbox=page.write("apart", 260.0)))
    assert page.markdown().count("apart") == 1


def test_blocks_of_other_kinds_are_written_as_they_were():
    page = Page().paragraph("A title", kind="heading").table(*NUMBERS)
    page.blocks += [
        LayoutBlock("list_item", text="one", ordered=True, marker="1.", level=0),
        LayoutBlock("list_item", text="two", level=1),
        LayoutBlock("code", lines=["x = 1", "y = 2"], lang="python"),
        LayoutBlock("rule"),
        LayoutBlock("figure", id="p1_1", format="png"),
        LayoutBlock("paragraph", text="said", italic=True),
    ]
    markdown = page.markdown()
    assert markdown.startswith("## A title\n\n| North |")
    assert "1. one\n\n  - two\n\n```python\nx = 1\ny = 2\n```\n\n---\n\n*said*\n" in markdown


def test_degenerate_geometry_is_survived():
    page = Page()
    page.blocks = [
        LayoutBlock("table", header=None, rows=[], bbox=AnnotationRect(0, 0, 0, 0)),
        LayoutBlock("table", header=[LayoutCell("a")], rows=[[], [LayoutCell("b")]], bbox=None),
        LayoutBlock(
            "table", header=[LayoutCell("a"), LayoutCell("b")], rows=[[LayoutCell("c"), LayoutCell("d")]]
        ),
    ]
    page.items = [TextItem("a", float("inf"), 0, 0, 0), TextItem("b", 0, float("nan"), 0, -1)]
    assert isinstance(page.markdown(), str)
