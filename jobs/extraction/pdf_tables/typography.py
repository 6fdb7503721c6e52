"""Dashes and quotation marks as a document has them: liteparse writes them in plain ASCII."""

from __future__ import annotations

from collections.abc import Callable

_PLAIN = str.maketrans(
    {
        "\N{HYPHEN}": "-",
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{FIGURE DASH}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{HORIZONTAL ELLIPSIS}": "...",
    }
)


class Typography:
    """Words of one page as they are written there.

    Args:
        exact_text: returns the text of the page with the characters that it has; called when there is
            something to be looked up, and once at most.
    """

    def __init__(self, exact_text: Callable[[], str]) -> None:
        self._exact_text = exact_text
        self._words: dict[str, str | None] | None = None

    def restored(self, text: str) -> str:
        """Return a text with the words that are certain; a word that is written in two ways stays plain."""
        if not any(mark in text for mark in "-'\"."):
            return text
        if self._words is None:
            self._words = {}
            for word in self._exact_text().split():
                plain = word.translate(_PLAIN)
                known = self._words.setdefault(plain, word)
                if known != word:
                    self._words[plain] = None
        words = self._words
        return " ".join(words.get(word) or word for word in text.split(" "))
