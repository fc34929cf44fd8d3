"""Text that matches a regular expression: tested in linear time, and made up."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.errors import ConstraintError

_MORE = 6  # how many repetitions beyond the least `*` and `+` are written with
_MOST = 1_000
_CLASSES = {"d": string.digits, "w": string.ascii_letters + string.digits + "_", "s": " "}
_ANY = string.ascii_letters + string.digits


def require_pattern(pattern: str) -> None:
    """Return if ``pattern`` is a regular expression of RE2.

    Raises:
        ConstraintError: if it is none, or uses look-around or back-references.
    """
    try:
        _matching(["a"], pattern)
    except (ValueError, TypeError):
        raise ConstraintError(
            "the pattern is no regular expression of RE2, which has neither look-around nor back-references; mend it",
            constraint=pattern,
        ) from None


def matches(values: pd.Series[Any], pattern: str) -> NDArray[np.bool_]:
    """Return which texts match the whole pattern, shape (n,); null does not.

    Raises:
        TypeError: if the column holds something that is no text.
    """
    codes, distinct = pd.factorize(values.astype(object))
    if not all(isinstance(value, str) for value in distinct):
        raise TypeError("not text")
    held = np.append(_matching(list(distinct), pattern), np.False_)  # code -1, null, reads the last
    return held[codes]


def _matching(texts: list[str], pattern: str) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    inner = pattern.removeprefix("^")
    if inner.endswith("$") and not inner.endswith("\\$"):
        inner = inner[:-1]
    made = pc.match_substring_regex(pa.array(texts, pa.string()), pattern=rf"\A(?:{inner})\z")
    return np.asarray(made.to_numpy(zero_copy_only=False), dtype=bool)


@dataclass(frozen=True)
class _Piece:
    """One of ``choices`` (characters, or sequences of pieces), from ``least`` to ``most`` times."""

    choices: tuple[Any, ...]
    least: int = 1
    most: int = 1


def written(pattern: str, n: int, *, rng: random.Generator) -> NDArray[np.object_] | None:
    """Return ``n`` made-up texts that match, shape (n,); ``None`` if the pattern is beyond us.

    Literals, classes, groups, alternatives and repetitions can be written; ``*`` and ``+`` repeat at most 6 times
    beyond the least.
    """
    parsed = _parsed(pattern)
    if parsed is None:
        return None
    made = _texts(parsed, n, rng)
    # Every text is tested, so that what the parser misreads is never passed off as matching.
    return made if bool(_matching(list(made), pattern).all()) else None


def _texts(pieces: tuple[_Piece, ...], n: int, rng: random.Generator) -> NDArray[np.object_]:
    whole = np.full(n, "", dtype=object)
    for piece in pieces:
        times = rng.integers(piece.least, piece.most + 1, size=n)
        for turn in range(int(times.max(initial=0))):
            active = np.flatnonzero(times > turn)
            picks = rng.integers(len(piece.choices), size=len(active))
            if isinstance(piece.choices[0], str):
                whole[active] += np.array(piece.choices, dtype=object)[picks]
                continue
            for place, choice in enumerate(piece.choices):
                rows = active[picks == place]
                whole[rows] += _texts(choice, len(rows), rng)
    return whole


@lru_cache(maxsize=256)
def _parsed(pattern: str) -> tuple[_Piece, ...] | None:
    text = pattern.removeprefix("^")
    try:
        choices, rest = _alternatives(text, 0)
    except (IndexError, ValueError):
        return None
    if text[rest:] not in {"", "$"}:
        return None
    return (_Piece(choices),)


def _alternatives(text: str, at: int) -> tuple[tuple[Any, ...], int]:
    """Return the alternatives from ``at`` up to a closing parenthesis or the end, and where they end."""
    options: list[tuple[_Piece, ...]] = []
    pieces: list[_Piece] = []
    while at < len(text) and text[at] != ")" and text[at:] != "$":
        if text[at] == "|":
            options.append(tuple(pieces))
            pieces, at = [], at + 1
            continue
        choices, at = _atom(text, at)
        least, most, at = _times(text, at)
        pieces.append(_Piece(choices, least, most))
    return (*options, tuple(pieces)), at


def _atom(text: str, at: int) -> tuple[tuple[Any, ...], int]:
    character = text[at]
    if character == "(":
        start = at + 3 if text.startswith("(?:", at) else at + 1
        choices, end = _alternatives(text, start)
        if text[start] == "?" or text[end] != ")":
            raise ValueError("group")
        return choices, end + 1
    if character == "[":
        return _set(text, at + 1)
    if character == "\\":
        return _escaped(text[at + 1]), at + 2
    if character == ".":
        return tuple(_ANY), at + 1
    if character in "^$*+?{":
        raise ValueError("not written")
    return (character,), at + 1


def _escaped(character: str) -> tuple[str, ...]:
    if character in _CLASSES:
        return tuple(_CLASSES[character])
    if character.isalnum():
        raise ValueError("class")
    return (character,)


def _set(text: str, at: int) -> tuple[tuple[str, ...], int]:
    negated = text[at] == "^"
    at += negated
    found: dict[str, None] = {}
    first = at
    while text[at] != "]" or at == first:
        if text[at] == "\\":
            found.update(dict.fromkeys(_escaped(text[at + 1])))
            at += 2
        elif text[at + 1] == "-" and text[at + 2] != "]":
            found.update(dict.fromkeys(chr(code) for code in range(ord(text[at]), ord(text[at + 2]) + 1)))
            at += 3
        else:
            found[text[at]] = None
            at += 1
    kept = [c for c in string.printable[:95] if c not in found] if negated else list(found)
    if not kept:
        raise ValueError("empty class")
    return tuple(kept), at + 1


def _times(text: str, at: int) -> tuple[int, int, int]:
    """Return least, most and where the repetition ends; 1, 1 without one."""
    found = re.match(r"\*|\+|\?|\{(\d+)(,?)(\d*)\}", text[at:])
    if found is None:
        return 1, 1, at
    end = at + found.end()
    if text[end : end + 1] == "?":
        end += 1  # lazy: the same texts match
    if found[0][0] != "{":
        least = int(found[0] == "+")
        return least, 1 if found[0] == "?" else least + _MORE, end
    least = int(found[1])
    most = int(found[3]) if found[3] else least + _MORE if found[2] else least
    if not least <= most <= _MOST:
        raise ValueError("repetition")
    return least, most, end
