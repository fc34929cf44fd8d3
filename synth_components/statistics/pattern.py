"""What the values of a text column look like: e-mail addresses, versions, amounts of money and the like."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST = 0.8
"""Share of the distinct values that must match a pattern."""


@dataclass(frozen=True)
class Pattern:
    """A form of text.

    Attributes:
        name: What it is.
        form: Regular expression that the whole text matches.
        check: What else must hold, such as a checksum; ``None`` for nothing.
        least: Share of the distinct values that must match.
    """

    name: str
    form: re.Pattern[str]
    check: Callable[[str], bool] | None = None
    least: float = MOST

    def matches(self, text: str) -> bool:
        """Return whether the whole text has this form."""
        return self.form.fullmatch(text) is not None and (self.check is None or self.check(text))


def is_iban(text: str) -> bool:
    """Return whether the text is an IBAN with a right checksum (ISO 7064, mod 97-10)."""
    compact = text.replace(" ", "")
    if not _IBAN.fullmatch(compact):
        return False
    return int("".join(str(int(letter, 36)) for letter in compact[4:] + compact[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Return whether the text is a card number: 13 to 19 digits, the last right (Luhn, ISO/IEC 7812-1)."""
    compact = re.sub(r"[ -]", "", text)
    if not _CARD.fullmatch(compact):
        return False
    doubled = [int(digit) * (2 if position % 2 else 1) for position, digit in enumerate(reversed(compact))]
    return sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10 == 0


def host_of(text: str) -> str:
    """Return the IP address of one with a port, or in brackets; any other text as it is."""
    found = _ENDPOINT.fullmatch(text)
    if found is None or int(found["port"] or 0) > _LAST_PORT:
        return text
    return found["six"] or found["four"]


def is_isbn(text: str) -> bool:
    """Return whether the text is an ISBN of 10 or 13 digits, the last right (ISO 2108)."""
    compact = text.replace("-", "").replace(" ", "")
    if re.fullmatch(r"\d{9}[\dX]", compact):
        digits = [10 if digit == "X" else int(digit) for digit in compact]
        return sum(weight * digit for weight, digit in zip(range(10, 0, -1), digits, strict=True)) % 11 == 0
    return compact[:3] in {"978", "979"} and is_ean(compact)


def is_ean(text: str) -> bool:
    """Return whether the text is an article number of 13 digits, the last right (EAN-13, GTIN)."""
    if not re.fullmatch(r"\d{13}", text):
        return False
    return sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(text)) % 10 == 0


def _is_phone(text: str) -> bool:
    is_other = re.fullmatch(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}.*|\d+\.\d+", text) is not None  # a date, a decimal
    return any(mark in text for mark in "+ ()-./") and not is_other


def _is_ipv6(text: str) -> bool:
    groups = text.split(":")
    return len(groups) == 8 or (len(groups) < 9 and text.count("::") == 1)


def _is_place(text: str) -> bool:
    latitude, longitude = (float(part) for part in re.split(r"[,; ]+", text.strip("()")))
    return abs(latitude) <= 90 and abs(longitude) <= 180


def _is_clock(text: str) -> bool:
    return all(int(part) < most for part, most in zip(re.findall(r"\d+", text), (24, 60, 60), strict=False))


_CARD = re.compile(r"\d{13,19}")
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_ENDPOINT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<four>(?:\d{1,3}\.){3}\d{1,3})(?=:))(?::(?P<port>\d{1,5}))?")
_LAST_PORT = 65_535
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_AMOUNT = r"-?(?:\d{1,3}(?:[,.' ]\d{3})+|\d+)(?:[.,]\d{1,2})?"
_MONEY = (
    r"(?:[$€£¥₹₽₩₺]|USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|SGD|HKD|TRY|ILS)"
)
_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"
_CLOCK = r"\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?"
_DOMAIN = (
    r"(?:com|org|net|edu|gov|mil|int|info|biz|io|dev|app|ai|co|eu|uk|de|fr|it|es|nl|be|ch|at|se|no|dk|fi|pl|cz|pt|ie|ru|"
    r"ua|cn|jp|kr|in|br|mx|ca|au|nz|za|us|local|internal|example|test)"
)
_SECTION = r"(?:0|[1-9]\d*)"


def _pattern(name: str, form: str, check: Callable[[str], bool] | None = None, *, least: float = MOST) -> Pattern:
    return Pattern(name, re.compile(form), check, least)


PATTERNS: tuple[Pattern, ...] = (
    _pattern("email", r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"),
    _pattern("uuid", r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
    _pattern("url", r"(?:https?|ftp)://\S+|www\.\S+\.\S+"),
    _pattern("ipv4", rf"(?:{_OCTET}\.){{3}}{_OCTET}"),
    _pattern("mac", r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}"),
    _pattern("ipv6", r"(?=.*:.*:)[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}", _is_ipv6),
    _pattern("iban", r"[A-Z]{2}\d{2}[A-Z0-9 ]{11,40}", is_iban),
    _pattern("ssn", r"\d{3}-\d{2}-\d{4}"),
    _pattern("isbn", r"[\d -]{9,16}[\dX]", is_isbn),
    _pattern("ean", r"\d{13}", is_ean),
    _pattern("card", r"\d[\d -]{11,22}\d", is_card),
    _pattern("iso_datetime", rf"\d{{4}}-{_MONTH}-{_DAY}[T ]{_CLOCK}(?:Z|[+-]\d{{2}}:?\d{{2}})?"),
    _pattern("iso_date", rf"\d{{4}}-{_MONTH}-{_DAY}"),
    _pattern("date", r"\d{1,2}([./-])\d{1,2}\1\d{4}|\d{2}([./-])\d{2}\2\d{2}|\d{4}([./])\d{1,2}\3\d{1,2}"),
    _pattern("time", rf"{_CLOCK}(?: ?[AaPp][Mm])?", _is_clock),
    _pattern("coordinates", r"\(?-?\d{1,2}\.\d+[,; ]+-?\d{1,3}\.\d+\)?", _is_place),
    _pattern("percentage", r"[+-]?\d+(?:[.,]\d+)? ?%"),
    _pattern("currency", rf"-?{_MONEY} ?{_AMOUNT}|{_AMOUNT} ?{_MONEY}"),
    _pattern("version", rf"[vV]?{_SECTION}\.{_SECTION}\.{_SECTION}(?:\.\d+)?(?:[-+][0-9A-Za-z.+-]+)?|[vV]\d+\.\d+"),
    _pattern("hex_colour", r"#(?:[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8}|[0-9A-Fa-f]{3})"),
    _pattern("digest", r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9A-F]{32}|[0-9A-F]{40}|[0-9A-F]{64}"),
    _pattern("phone", r"(?=(?:\D*\d){7,15}\D*$)\+?[\d(][\d ()./-]{5,20}\d(?: ?(?:x|ext\.?) ?\d{1,6})?", _is_phone),
    _pattern("uk_postcode", r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"),
    _pattern("canadian_postcode", r"[A-Z]\d[A-Z] ?\d[A-Z]\d"),
    _pattern("dutch_postcode", r"[1-9]\d{3} ?[A-Z]{2}"),
    # Five digits are also five digits: one value of another length, and it is no ZIP code.
    _pattern("zip_code", r"\d{5}(?:-\d{4})?", least=1.0),
    _pattern("media_type", r"(?:application|audio|font|image|message|model|multipart|text|video)/[a-z0-9.+-]+"),
    _pattern("file_path", r"(?:[A-Za-z]:)?(?:[\\/][^\\/:*?\"<>|\s]+)+[\\/]?|\.{0,2}(?:/[^/\s]+)+/?|~(?:/[^/\s]+)+"),
    _pattern("host_name", rf"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+{_DOMAIN}"),
    _pattern("json", r"\{.*\}|\[.*\]"),
    _pattern("language_tag", r"[a-z]{2}[-_][A-Z]{2}"),
    _pattern("handle", r"@[A-Za-z0-9_.]{2,30}"),
    _pattern("hashtag", r"#\w{2,50}"),
    _pattern("icd10", r"[A-TV-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,4})", least=0.95),
    _pattern("integer", r"[+-]?\d+"),
    _pattern("decimal", r"[+-]?(?:\d+[.,]\d*|[.,]\d+)(?:[eE][+-]?\d+)?"),
)
"""The forms that are known, tried in this order: the more particular ones first."""

BY_NAME = {pattern.name: pattern for pattern in PATTERNS}
"""The same, by name."""


def pattern_of(texts: Sequence[str]) -> tuple[str, float] | None:
    """Return the first pattern that enough of the texts match, and the share that does.

    Args:
        texts: Distinct values, without blanks at the ends.  No text at all has no pattern, which is ``None``.
    """
    if not texts:
        return None
    head = texts[:: max(1, len(texts) // 20)][:20]
    for pattern in PATTERNS:
        # Most patterns fail on the first few values; 0.8 of all means 0.5 of twenty but once in a thousand columns.
        if sum(map(pattern.matches, head)) < pattern.least / 2 * len(head):
            continue
        share = sum(map(pattern.matches, texts)) / len(texts)
        if share >= pattern.least:
            return pattern.name, share
    return None
