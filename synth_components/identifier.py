"""Columns that identify a person directly, found by patterns over a share of the values and by the column's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from synth_components.characters import plain
from synth_components.encode import cast_to
from synth_components.schema import TextKind
from synth_components.statistics.pattern import BY_NAME, MOST, host_of, is_card, is_iban

SOME = 0.5
"""The share that is enough where the column's name agrees."""

_NATIONAL, _FEWEST = 0.9, 12
"""Share of national identifiers with right check digits, and distinct values, that prove them."""

_EXAMINED = 2_000
"""Most distinct values examined, evenly spaced over those in order of appearance."""

_HINTS: dict[TextKind, re.Pattern[str]] = {
    "email": re.compile(r"e?[-_ ]?mail|courriel|correo"),
    "phone": re.compile(
        r"phone|mobile|telefon|\btel\b|\bfax\b|\bcell\b|téléphone|teléfono|telefoon|\bhandy\b|móvil|celular|"
        r"cellulare|puhelin"
    ),
    "iban": re.compile(r"iban|bank account"),
    "card": re.compile(r"card|\bpan\b|credit"),
    "ssn": re.compile(r"\bssn\b|social security|national id|\bnin\b|\bsin\b"),
    "ip": re.compile(r"\bip\b|ip addr|\bhost\b"),
    "url": re.compile(r"\burl\b|website|\blink\b|homepage"),
    "uuid": re.compile(r"uuid|guid"),
    "address": re.compile(
        r"address|street|\baddr\b|adresse|anschrift|straße|strasse|\brue\b|dirección|indirizzo|endereço|\badres\b|"
        r"\bulica\b"
    ),
    "postcode": re.compile(r"zip|post ?code|postal|\bplz\b|postleitzahl|\bcap\b|\bcep\b|postnummer|\bpsč\b"),
    "name": re.compile(
        r"^name$|(first|last|full|middle|given|family|sur|maiden|person|patient|customer|client|employee|contact|user)"
        r" ?name|\bcontact person$|"
        r"^(patient|employee|person|contact)$|(vor|nach|familien)name|^(nom|prénom|nombre|apellidos?|cognome|"
        r"nome|"
        r"sobrenome|naam|voornaam|achternaam|imię|nazwisko|förnamn|efternamn|jméno|příjmení)$|^(surname|forename)s?$|"
        r"\b(physician|doctor|guardian|parent|mother|father|spouse|teacher|account holder|card ?holder)( name)?$"
    ),
    "identifier": re.compile(
        r"(^|\b)(id|ids|identifier|key|uid|account|number|nr|no|ref|reference|mrn|passport|licen[cs]e)$"
    ),
}

_ADDRESS = re.compile(r"\d+[A-Za-z]?,? .*[A-Za-z]{3}.*|.*[A-Za-z]{3}.* \d+[A-Za-z]?(?:,.*)?", re.DOTALL)
_LONGEST_ADDRESS = 500
"""Characters; the form is tried from every one of them on, which of longer texts would take minutes."""
_ADDRESS_WORD = re.compile(
    r"\b(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|way|court|ct|place|square|suite|apt|strasse|"
    r"straße|str|weg|allee|platz|rue|chemin|impasse|quai|calle|avenida|avda|paseo|plaza|camino|via|viale|corso|piazza|"
    r"vicolo|rua|travessa|praça|largo|alameda|ulica|ul|aleja|plac|close|crescent|terrace|parkway|pkwy|highway|hwy|"
    r"circle|"
    r"trail|turnpike|p\.?o\.? box)\b|(?:straße|strasse|str\.|weg|gasse|allee|platz|straat|laan|plein|gracht|gatan|"
    r"vägen|veien|katu|utca|ulice|náměstí)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?:(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.? )?[^\W\d_][\w'\u2019.-]*,?(?: [^\W\d_][\w'\u2019.-]*,?){0,4}")


def words(name: str) -> str:
    """Return a column name as lower-case words: ``customerID`` and ``customer_id`` are ``customer id``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_\-.]+", " ", name)
    return re.sub(r"\s+", " ", spaced).strip().lower()


def hints_at(name: str, kind: TextKind) -> bool:
    """Return whether the column's name suggests this kind of identifier."""
    return _HINTS[kind].search(words(name)) is not None


def is_address(text: str) -> bool:
    """Return whether the text has a number and a word for a street, in several languages."""
    is_short = len(text) <= _LONGEST_ADDRESS
    return is_short and _ADDRESS_WORD.search(text) is not None and _ADDRESS.fullmatch(text) is not None


def _is_known_name(text: str) -> bool:
    from synth_components.sensitive.lexicon import family_names, given_names

    parts = re.findall(r"[^\W\d_]+", text.lower())
    return _NAME.fullmatch(text) is not None and any(part in given_names() or part in family_names() for part in parts)


def _are_names(texts: list[str], column: str) -> bool:
    from synth_components.sensitive.person import are_names

    return are_names(texts, is_named=hints_at(column, "name"))


def _is_any(*names: str) -> Callable[[str], bool]:
    patterns = [BY_NAME[name] for name in names]
    return lambda text: any(pattern.matches(text) for pattern in patterns)


_is_address_of_network = _is_any("ipv4", "ipv6", "mac")
_is_known_postcode = _is_any("zip_code", "uk_postcode", "canadian_postcode", "dutch_postcode")


def _is_postcode(text: str) -> bool:
    return _is_known_postcode(text) or re.fullmatch(r"\d{4,6}", text) is not None


_PATTERNS: tuple[tuple[TextKind, Callable[[str], bool]], ...] = (
    ("email", _is_any("email")),
    ("uuid", _is_any("uuid")),
    ("url", _is_any("url")),
    ("ip", lambda text: _is_address_of_network(host_of(text))),
    ("iban", is_iban),
    ("ssn", _is_any("ssn")),
    ("card", is_card),
    ("phone", _is_any("phone")),
    ("address", is_address),
)
"""Tried in this order: a card number or a social-security number also looks like a phone number."""


def identifier_kind(values: pd.Series[Any], *, supported: float) -> TextKind | None:
    """Return what direct identifier a text column holds, ``None`` if none.

    Args:
        supported: Share of rows whose value enough rows share; a well-supported postcode or name of a thing is no
            identifier.
    """
    name = str(values.name)
    distinct = some_distinct(values)
    if not distinct:
        return None

    def share(matches: Callable[[str], bool]) -> float:
        return float(np.mean([matches(text) for text in distinct]))

    for kind, matches in _PATTERNS:
        if share(matches) >= (SOME if hints_at(name, kind) else MOST):
            return kind
    # Known names come last: they are the only ones that cost an import.
    if hints_at(name, "name") and (
        (supported < SOME and share(_is_worded_name) >= MOST) or share(_is_known_name) >= SOME / 2
    ):
        return "name"
    if share(_has_two_words) >= MOST and (share(_is_known_name) >= MOST or _are_names(distinct, name)):
        return "name"
    if hints_at(name, "ssn") and share(lambda text: re.fullmatch(r"\d{9}", text) is not None) >= MOST:
        return "ssn"
    if hints_at(name, "phone") and share(lambda text: re.fullmatch(r"\+?\d{7,15}", text) is not None) >= MOST:
        return "phone"
    if _is_national(distinct):
        return "identifier"
    if supported < SOME:
        if hints_at(name, "address") and share(_has_two_words) >= SOME:
            return "address"
        if hints_at(name, "postcode") and share(_is_postcode) >= MOST:
            return "postcode"
    return None


def number_kind(values: pd.Series[Any]) -> TextKind | None:
    """Return what direct identifier integers are: cards by checksum, others if the name says so too."""
    name = str(values.name)
    distinct = some_distinct(values)
    if not distinct:
        return None

    def share(matches: Callable[[str], bool]) -> float:
        return float(np.mean([matches(text) for text in distinct]))

    # One number in ten passes the checksum by chance, so that few numbers prove nothing.
    if share(is_card) >= MOST and (hints_at(name, "card") or len(distinct) >= 10):
        return "card"
    if hints_at(name, "ssn") and share(lambda text: len(text) in {8, 9}) >= MOST:
        return "ssn"
    if hints_at(name, "phone") and share(lambda text: 7 <= len(text) <= 15) >= MOST:
        return "phone"
    return "identifier" if _is_national(distinct) else None


def _is_national(texts: list[str]) -> bool:
    """Return whether the texts are national identifiers of some country, by their check digits."""
    from synth_components.sensitive.national import national_number

    found = national_number(texts)
    # One number in ten passes most of these checks by chance, and many of them are tried.
    return found is not None and found[1] >= _NATIONAL and len(texts) >= _FEWEST and found[0].check is not None


def _is_worded_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _has_two_words(text: str) -> bool:
    return len(text.split()) >= 2


def some_distinct(values: pd.Series[Any]) -> list[str]:
    """Return at most some thousand distinct values as plain text, without blanks at the ends."""
    distinct = cast_to(values[values.notna()], object).drop_duplicates()
    step = max(1, len(distinct) // _EXAMINED)
    return [plain(str(value)).strip() for value in distinct.iloc[::step].iloc[:_EXAMINED]]


def key_prefix(values: pd.Series[Any]) -> str | None:
    """Return the text before the number that all values share, ``None`` if they are not numbered."""
    texts = [str(value) for value in values]
    parts = [re.fullmatch(r"(\D*)(\d+)", text) for text in texts]
    prefixes = {part[1] for part in parts if part is not None}
    if len(prefixes) != 1 or any(part is None for part in parts):
        return None
    return prefixes.pop()
