from jobs.extraction import Table
from jobs.extraction.markdown_tables import CELLS_KEPT, bounded, tables_in


def test_a_table_has_the_heading_right_before_it_as_its_title():
    found = tables_in(
        "# Book\n\n## May\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nAnd\n\n| c | d |\n|---|:-:|\n| 3 | 4 |\n"
    )
    assert found == [Table([["a", "b"], ["1", "2"]], title="May"), Table([["c", "d"], ["3", "4"]])]


def test_cells_lose_markup_and_escapes_and_keep_line_breaks():
    (table,) = tables_in(
        "| **Sum** | x \\| y |\n| --- | --- |\n| one<br>two | [a](http://b.example) &amp; `c` |\n"
    )
    assert table.rows == [["Sum", "x | y"], ["one\ntwo", "a & c"]]


def test_what_stands_in_a_code_block_is_no_table():
    code = "````\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n````\n"
    assert tables_in(code) == []
    assert len(tables_in(code + "| a | b |\n|---|---|\n| 1 | 2 |\n")) == 1


def test_tables_without_outer_borders_are_tables():
    (table,) = tables_in("a | b\n--- | ---\n1 | 2\n\nnot | this\n")
    assert table.rows == [["a", "b"], ["1", "2"]]


def test_a_table_for_its_looks_is_none_unless_it_has_a_title():
    line = "| only | one row |\n| --- | --- |\n"
    assert tables_in(line) == []
    assert [table.title for table in tables_in(f"## Sheet1\n\n{line}")] == ["Sheet1"]


def test_empty_rows_at_the_ends_and_empty_columns_on_the_right_go():
    (table,) = tables_in("|  |  |  |\n|---|---|---|\n|  | a |  |\n|  |  |  |\n| b |  |  |\n|  |  |  |\n")
    assert table.rows == [["", "a"], ["", ""], ["b", ""]]


def test_rows_are_filled_up_to_the_longest():
    kept, is_whole = bounded([Table([["a"], ["b", "c"]], page=3, title="t")], 100)
    assert (kept, is_whole) == ([Table([["a", ""], ["b", "c"]], page=3, title="t")], True)


def test_of_too_many_cells_or_characters_the_beginning_is_kept():
    wide = Table([["x"] * 1000 for _ in range(CELLS_KEPT // 1000 + 1)])
    kept, is_whole = bounded([wide], 10**6)
    assert (len(kept[0].rows), is_whole) == (CELLS_KEPT // 1000, False)
    kept, is_whole = bounded([Table([["abc"], ["def"], ["g"]]), Table([["h"]])], 6)
    assert (kept, is_whole) == ([Table([["abc"], ["def"]])], False)
    kept, is_whole = bounded([Table([["a"]])] * 1001, 10**6)
    assert (len(kept), is_whole) == (1000, False)
