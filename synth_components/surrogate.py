"""Keys and texts made anew: nothing in them comes from the rows.

Where the world reserves values for examples, these are used: a surrogate must reach nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, assert_never

import numpy as np
import pandas as pd
from numpy import random
from numpy.typing import NDArray

from synth_components.encode import cast_to
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.schema import Key, Text, TextKind

KEY_DIGITS = 9
"""Fewest digits of a textual key."""

_POOL = 1_000
_POOL_SEED = 20_240_229
_DOMAINS = ("example.com", "example.org", "example.net")
_TEST_NETS = ("192.0.2", "198.51.100", "203.0.113")
_TEST_CARDS = ("411111", "555555", "400000", "510510")

Texts = NDArray[np.object_]


def surrogate(column: Text | Key, *, name: str, n: int, rng: random.Generator, first: int) -> pd.Series[Any]:
    """Return ``n`` values, none of them null, with the column's dtype.

    Keys are numbered from ``first``, so that they are unique whatever the shard.  Texts follow ``rng`` alone; they are
    not unique, except identifiers and UUIDs for all practical purposes.  Which of them become null is learned
    beside: ``null_indicator``.

    Args:
        first: Index of the first row among all rows drawn.

    Raises:
        SchemaError: for a dtype that cannot hold the values.
        UnsupportedError: if the keys no longer fit the dtype.
    """
    if isinstance(column, Key):
        return keys_of(column, np.arange(first, first + n, dtype=np.int64), name=name)
    texts = _texts(column.kind, n, rng)
    if _is_integral(column.dtype):
        return _numbers(texts, column, name)
    if not _is_textual(column.dtype):
        raise SchemaError(f"text column '{name}' has dtype {column.dtype}; declare object, str or string", column=name)
    return cast_to(pd.Series(texts, name=name, dtype=object), column.dtype)


def _is_textual(dtype: str) -> bool:
    return dtype in {"object", "str", "string", "category"} or dtype.startswith(("string[", "large_string["))


def _is_integral(dtype: str) -> bool:
    return dtype.lower().startswith(("int", "uint"))


def keys_of(column: Key, numbers: NDArray[np.int64], *, name: str) -> pd.Series[Any]:
    """Return the key (n,) that each number (n,) stands for, with the column's dtype: another one for each.

    Raises:
        SchemaError: for a dtype that cannot hold them.
        UnsupportedError: if they no longer fit the dtype.
    """
    if _is_integral(column.dtype):
        parsed: Any = pd.api.types.pandas_dtype(column.dtype)
        limit = int(np.iinfo(np.dtype(getattr(parsed, "numpy_dtype", parsed))).max)
        if len(numbers) and int(numbers.max()) > limit:
            raise UnsupportedError(f"key '{name}' of dtype {column.dtype} ends at {limit:,}; declare int64")
    made: Any
    if _is_textual(column.dtype):
        made = np.array([f"{column.prefix}{number:0{KEY_DIGITS}d}" for number in numbers.tolist()], dtype=object)
    elif _is_integral(column.dtype):
        made = numbers
    elif column.dtype.startswith(("float", "Float")):
        made = numbers.astype(np.float64)
    else:
        raise SchemaError(f"key column '{name}' has dtype {column.dtype}; declare an integer or text", column=name)
    return cast_to(pd.Series(made, name=name), column.dtype)


def _numbers(texts: Texts, column: Text, name: str) -> pd.Series[Any]:
    digits = ["".join(letter for letter in text if letter.isdigit()) for text in texts]
    if not all(digits):
        raise SchemaError(
            f"column '{name}' of dtype {column.dtype} cannot hold text of kind {column.kind}", column=name
        )
    parsed: Any = pd.api.types.pandas_dtype(column.dtype)
    limit = int(np.iinfo(np.dtype(getattr(parsed, "numpy_dtype", parsed))).max)
    values = np.array([int(text) for text in digits], dtype=object)
    if len(values) and max(values) > limit:
        raise SchemaError(f"column '{name}' of dtype {column.dtype} is too small for kind {column.kind}", column=name)
    return cast_to(pd.Series(values.astype(np.uint64), name=name), column.dtype)


def _texts(kind: TextKind, n: int, rng: random.Generator) -> Texts:
    match kind:
        case "name":
            return _joined(_draw("first_name", n, rng), " ", _draw("last_name", n, rng))
        case "email":
            return _emails(n, rng)
        case "phone":
            # 555-0100 to 555-0199 of every area are set aside for fiction.
            return _formatted("+1-{}-555-01{:02d}", rng.integers(201, 990, n), rng.integers(0, 100, n))
        case "address":
            streets = _joined(_formatted("{}", rng.integers(1, 1000, n)), " ", _draw("street_name", n, rng))
            return _joined(streets, ", ", _draw("city", n, rng))
        case "iban":
            return _ibans(n, rng)
        case "card":
            return _cards(n, rng)
        case "ssn":
            # Areas 900 to 999 are never issued, and groups 50 to 99 of them are taxpayer numbers: 01 to 49 are neither.
            return _formatted(
                "{}-{:02d}-{:04d}", rng.integers(900, 1000, n), rng.integers(1, 50, n), rng.integers(1, 10_000, n)
            )
        case "ip":
            nets = np.array(_TEST_NETS, dtype=object)[rng.integers(0, len(_TEST_NETS), n)]
            return _formatted("{}.{}", nets, rng.integers(1, 255, n))
        case "url":
            domains = np.array(_DOMAINS, dtype=object)[rng.integers(0, len(_DOMAINS), n)]
            return _formatted("https://www.{}/{}/{}", domains, _draw("word", n, rng), rng.integers(1, 100_000, n))
        case "uuid":
            return _uuids(n, rng)
        case "postcode":
            # 00000 to 00200 are no ZIP codes.
            return _formatted("{:05d}", rng.integers(0, 201, n))
        case "identifier":
            return _formatted("ID{:015d}", rng.integers(0, 10**15, n))
        case "free":
            return _draw("sentence", n, rng)
        case _:
            assert_never(kind)


def _formatted(form: str, *parts: Any) -> Texts:  # noqa: ANN401 - arrays of anything with a format
    made = np.empty(len(parts[0]), dtype=object)
    made[:] = [form.format(*values) for values in zip(*(part.tolist() for part in parts), strict=True)]
    return made


def _joined(first: Texts, between: str, second: Texts) -> Texts:
    made: Texts = first + between + second
    return made


def _draw(word: str, n: int, rng: random.Generator) -> Texts:
    pool = _pool(word)
    made: Texts = pool[rng.integers(0, len(pool), n)]
    return made


@cache
def _pool(word: str) -> Texts:
    """Return up to 1,000 distinct words of a kind, from a Faker of its own with a fixed seed."""
    from faker import Faker

    fake = Faker("en_US")
    fake.seed_instance(_POOL_SEED)
    make: Callable[[], str] = getattr(fake, word)
    made = sorted({make() for _ in range(_POOL)})
    pool = np.empty(len(made), dtype=object)
    pool[:] = made
    return pool


def _emails(n: int, rng: random.Generator) -> Texts:
    domains = np.array(_DOMAINS, dtype=object)[rng.integers(0, len(_DOMAINS), n)]
    first, last = _draw("first_name", n, rng), _draw("last_name", n, rng)
    texts = _formatted("{}.{}{}@{}", first, last, rng.integers(1, 10_000, n), domains)
    made = np.empty(n, dtype=object)
    made[:] = [text.lower().replace(" ", "").replace("'", "") for text in texts]
    return made


def _ibans(n: int, rng: random.Generator) -> Texts:
    """Return IBANs with right checksums of country XX, which is nobody's (ISO 3166-1 user-assigned)."""
    made = np.empty(n, dtype=object)
    for row, account in enumerate(rng.integers(0, 10**18, n).tolist()):
        body = f"{account:018d}"
        check = 98 - int(f"{body}{int('X', 36)}{int('X', 36)}00") % 97
        made[row] = f"XX{check:02d}{body}"
    return made


def _cards(n: int, rng: random.Generator) -> Texts:
    """Return 16-digit numbers with right check digits, in ranges that payment processors use for tests."""
    bins = rng.integers(0, len(_TEST_CARDS), n).tolist()
    made = np.empty(n, dtype=object)
    for row, number in enumerate(rng.integers(0, 10**9, n).tolist()):
        body = f"{_TEST_CARDS[bins[row]]}{number:09d}"
        doubled = [int(digit) * (1 if place % 2 else 2) for place, digit in enumerate(reversed(body))]
        made[row] = f"{body}{-sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10}"
    return made


def _uuids(n: int, rng: random.Generator) -> Texts:
    """Return UUIDs of version 4."""
    raw = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    raw[:, 6] = (raw[:, 6] & 0x0F) | 0x40
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    made = np.empty(n, dtype=object)
    made[:] = [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in (row.tobytes().hex() for row in raw)]
    return made
