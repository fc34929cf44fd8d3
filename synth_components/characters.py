"""Characters that stand for plain ones: full-width letters and digits, digits of other scripts, spaces, hyphens."""

from __future__ import annotations

import unicodedata

_KINDS = ("<wide>", "<narrow>", "<noBreak>")
_HYPHENS = "\u2010\u2011\ufe63\uff0d"


class _Plain(dict[int, int]):
    """The plain character of each, found when it is first asked for."""

    def __missing__(self, code: int) -> int:
        letter = chr(code)
        parts = unicodedata.decomposition(letter).split(" ")
        digit = unicodedata.decimal(letter, None)
        if digit is not None:
            code = ord(str(digit))
        elif letter in _HYPHENS:
            code = ord("-")
        elif unicodedata.category(letter) == "Zs":
            code = ord(" ")
        elif parts[0] in _KINDS and len(parts) == 2:
            code = int(parts[1], 16)
        self[ord(letter)] = code
        return code


_PLAIN = _Plain()


def plain(text: str) -> str:
    """Return a text with plain digits, letters, spaces and hyphens, each in its place.

    No offset changes.

    Source: Unicode Standard Annex 15, compatibility decompositions (NFKC).
    Differs: only those of one character to one, of width and of spaces, so that superscripts and ligatures stay; and
        the decimal digits of every script, which NFKC leaves.
    """
    return text if text.isascii() else text.translate(_PLAIN)
