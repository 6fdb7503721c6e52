"""Foreign Markdown never becomes active HTML."""

import pytest

from webapp.markdown import LONGEST_RENDERED, render


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))",
        "[a](data:text/html,x)", "![a](https://evil.example/x.png)", "<svg/onload=alert(1)>", "`<b>`",
        "| <i>a</i> |\n|---|\n| [x](vbscript:x) |", "[a]: javascript:alert(1)\n\n[a]", "<style>*{}</style>",
    ],
)  # fmt: skip
def test_nothing_active_survives(source):
    html = str(render(source)).lower()
    for tag in (
        "<script",
        "<img",
        "<svg",
        "<style",
        "<b>",
        "<i>",
        'href="javascript',
        'href="data',
        'href="vb',
    ):
        assert tag not in html


def test_structure_survives_below_the_pages_own_headings():
    html = render(
        "# One\n\n###### Six\n\n- a\n- b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n[l](https://example.com)"
    )
    assert "<h3>One</h3>" in html
    assert "<h6>Six</h6>" in html
    assert "<li>a</li>" in html
    assert "<td>2</td>" in html
    assert 'rel="noopener noreferrer nofollow"' in html


def test_a_long_text_is_cut():
    assert len(render("word " * LONGEST_RENDERED)) < LONGEST_RENDERED * 1.1
