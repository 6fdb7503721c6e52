from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.extraction.chunking import LONGEST_CHARS, chunks_of
from jobs.extraction.markdown import escape, to_plain

PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ["# One\n", "## Two\n\n", "\n\n", "\n", "- item\n", "Words. More! ", "```\ncode\n\n```\n", "\t"]
        ),
        st.sampled_from(
            ["| a | b |\n|---|---|\n| c | d |\n", "e\u0301" * 900, "x" * 1300, "word " * 400, "| x |\n" * 200]
        ),
        st.text(max_size=80),
    ),
    max_size=12,
)


def divided(markdown, text=None, pages=()):
    text = to_plain(markdown) if text is None else text
    chunks, _ = chunks_of(text, markdown, pages)
    end = 0
    for chunk in chunks:
        assert end <= chunk.start < chunk.end <= chunk.start + LONGEST_CHARS
        assert not text[end : chunk.start].strip()
        assert text[chunk.start : chunk.end].strip() == text[chunk.start : chunk.end]
        end = chunk.end
    assert not text[end:].strip()
    return text, chunks


@given(PIECES)
@settings(max_examples=200, deadline=None)
def test_every_character_is_in_one_chunk_or_white_space_between(pieces):
    divided("".join(pieces))


@given(PIECES, PIECES)
@settings(max_examples=100, deadline=None)
def test_so_it_is_even_where_the_markdown_shows_something_else(pieces, others):
    divided("".join(pieces), to_plain("".join(others)))


def passages(markdown, **arguments):
    text, chunks = divided(markdown, **arguments)
    return [text[chunk.start : chunk.end] for chunk in chunks]


def test_a_heading_begins_a_chunk_and_is_named_with_all_above_it():
    body = "Something is said here. " * 20
    _, chunks = divided(f"# Book\n\n## One\n\n{body}\n\n## Two\n\n{body}\n\n### Deep\n\n{body}\n")
    assert [chunk.headings for chunk in chunks] == [("Book", "One"), ("Book", "Two"), ("Book", "Two", "Deep")]


def test_small_sections_share_a_chunk():
    assert passages("# A\n\none\n\n# B\n\ntwo\n") == ["A\n\none\n\nB\n\ntwo"]


def test_a_table_and_code_that_fit_are_not_torn_apart():
    rows = "".join(f"| cell {number} | {'v' * 30} |\n" for number in range(20))
    table = f"| head | b |\n| --- | --- |\n{rows}"
    code = "```\n" + "call(value)\n\n" * 60 + "```\n"
    before = "A sentence before it. " * 40
    found = passages(f"{before}\n\n{table}\n\n{before}\n\n{code}")
    assert any(one.startswith("head\tb") and one.endswith("cell 19\t" + "v" * 30) for one in found)
    assert any(one.startswith("call(value)") and one.count("call") == 60 for one in found)


def test_a_table_that_is_too_long_is_cut_between_its_rows():
    table = "| a | b |\n| --- | --- |\n" + "".join(
        f"| row {number} | {'w ' * 20}|\n" for number in range(100)
    )
    found = passages(table)
    assert len(found) > 3
    assert all(one.startswith(("a\tb", "row ")) for one in found)


def test_a_long_paragraph_is_cut_at_sentences_else_at_words():
    assert all(one.endswith(".") for one in passages("This is said. " * 300))
    assert all(set(one.split()) == {"word"} for one in passages("word " * 1000))


def test_a_letter_stays_with_its_marks():
    for one in passages("e\u0301" * 2000):
        assert one[0] == "e"


def test_pages_are_those_of_the_text():
    pages = ["First page. " * 30, "", "Third page. " * 30, "Fourth. " * 200]
    pages = [page.strip() for page in pages]
    text = "\n\n".join(page for page in pages if page)
    text, chunks = divided(escape(text), text=text, pages=pages)
    assert (chunks[0].page_first, chunks[0].page_last) == (1, 3)
    for chunk in chunks:
        passage = text[chunk.start : chunk.end]
        assert chunk.page_first == (1 if "First" in passage else 3 if "Third" in passage else 4)
        assert chunk.page_last == (4 if "Fourth" in passage else 3 if "Third" in passage else 1)


def test_pages_are_found_in_the_markdown():
    pages = ["Title\n\nFirst words", "", "a\tb\n1\t2", "Last"]
    markdown = "# Title\n\nFirst *words*\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nLast\n"
    _, starts = chunks_of("\n\n".join(page for page in pages if page), markdown, pages)
    table, last = markdown.index("| a"), markdown.index("Last")
    assert starts == [0, table, table, last]
    assert chunks_of("other text", markdown, pages)[1] == []


def test_without_pages_there_are_no_page_numbers():
    _, (chunk,) = divided("Hello")
    assert (chunk.page_first, chunk.page_last) == (None, None)
