"""What is said of people in the middle of a text: found by check digits, forms and cues before names."""

from __future__ import annotations

import ipaddress
import re

from synth_components.sensitive.entity import is_payment_card
from synth_components.sensitive.lexicon import family_names, given_names, is_medical
from synth_components.sensitive.national import NUMBERS
from synth_components.statistics.pattern import is_iban

_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
_URL = re.compile(r"(?:https?|ftp)://\S+|www\.\w\S+\.\w+")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
_IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_VERSION = re.compile(
    r"(?:\bv|version|release|firmware|build|driver|section|sect\.|§|chapter|clause|update|upgrade[d]?( to)?)\s*$",
    re.IGNORECASE,
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}|"
    r"\(0?\d{2,5}\) ?\d{3,6}(?:[ -]?\d{2,4}){0,2}|0\d(?: \d\d){4}|"
    r"(?:(?:00)?1-)?\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5})(?: ?x ?\d{1,5})?(?![\w-]|"
    r"\.\d)"
)
_PHONE_CUE = re.compile(
    r"\b(?:phone|tel|telephone|call|mobile|cell|fax|ring|number|message at|(?:me|him|her|them|back|us) (?:at|on|"
    r"under))\b\W{0,3}(?:\w+\W+){0,2}$",
    re.IGNORECASE,
)
_BARE = re.compile(r"(?<![\w.-])\d{7,12}(?![\w-]|\.\d)")
_CUED_NAME = re.compile(
    r"\b(?:(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Herr|Frau|Mme|M|Sr|Sra|Signora?|Pan|Pani)\.?|(?:[Pp]atient|[Cc]lient|"
    r"[Cc]ustomer|[Ss]tudent|"
    r"[Cc]olleague|[Nn]eighbou?r|[Mm]anager|[Dd]octor|[Nn]urse)(?: named| name:?)?|[Nn]ame is|I am|I'm|"
    r"[Ss]igned(?: by)?|"
    r"[Ss]incerely,?|[Rr]egards,?|[Ss]poke (?:to|with)|[Cc]ontacted|[Cc]alled by|[Rr]eferred by|[Dd]ear)[ \n]+"
    r"(?:[A-Z]\. ?)?([A-Z\u00c0-\u017d][\w'\u2019-]+(?: [A-Z\u00c0-\u017d][\w'\u2019.-]+){1,2})"
)
_TITLED = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau|Mme|Sra?)\.? [A-Z\u00c0-\u017d][\w'\u2019-]+")
_PAIR = re.compile(r"(?<![\w.] )\b([A-Z\u00c0-\u017d][a-z\u00df-\u017e'\u2019-]+) (?:[A-Z]\. "
                   r")?([A-Z\u00c0-\u017d][a-z\u00df-\u017e'\u2019-]+)\b|"
                   r"\b([A-Z\u00c0-\u017d][a-z\u00df-\u017e]+) "
                   r"([A-Z\u00c0-\u017d][a-z\u00df-\u017e'\u2019-]+)\b")  # fmt: skip
_NO_PERSON = re.compile(
    r"^(?:The|This|That|These|New|North|South|East|West|Saint|San|Santa|Los|Las|Mount|Lake|Fort|Port|Great|Upper|"
    r"Lower|Dear|Our|Your|"
    r"My|Please|January|February|March|April|May|June|July|August|September|October|November|December|Monday|Tuesday|"
    r"Wednesday|"
    r"Thursday|Friday|Saturday|Sunday)$"
)
_THINGS = re.compile(
    r"^(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Park|Hospital|Clinic|University|College|School|Bank|Inc|Ltd|Corp|"
    r"Company|Group|"
    r"Shirt|Jacket|Dress|Chair|Sofa|Lamp|Watch|Phone|Edition|Series|Hotel|Airport|Station|River|Valley|County|City|"
    r"Beach|Island|"
    r"Syndrome|Disease|Test|Model|Theorem|Law|Award|Prize|Cup|League|Stadium|Museum|Church|Bridge|Tower|Square)$"
)
_DATED = re.compile(
    r"(?:\bD\.?O\.?B\.?|[Bb]orn(?: on)?|[Dd]ate of birth|[Bb]irth ?da(?:te|y)|[Gg]eb(?:oren|\.)(?: am)?|[Nn]ée? le|"
    r"[Nn]acid[oa] el)\W{0,4}(?:is |was )?"
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}\.? [A-Z][a-z]+ \d{4}|[A-Z][a-z]+ \d{1,2},? \d{4})"
)
_STREET = re.compile(
    r"\b\d{1,5}[A-Za-z]?,? (?:[A-Z\u00c0-\u017d][\w'\u2019.-]+ ){1,4}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|"
    r"Dr|Boulevard|Blvd|Way|Court|Ct|"
    r"Place|Pl|Square|Close|Crescent|Terrace|Parkway|Highway|Circle)\b|"
    r"\b[A-Z\u00c0-\u017d][\w-]*(?:stra\u00dfe|strasse|str\.|weg|gasse|platz|allee|straat|laan|gatan|"
    r"vägen) \d{1,4}[a-z]?\b|"
    r"\b[A-Z\u00c0-\u017d][\w\u00df-]*-(?:Stra\u00dfe|Weg|Gasse|Platz|Allee|Ring) \d{1,4}|"
    r"\b\d{1,5} (?:[A-Z][\w'-]+ ){2,3}(?:Apt|Suite|Unit|Ste|Flat)\b|"
    r"\b\d{1,4},? (?:rue|avenue|boulevard|chemin|place|impasse|quai) (?:[\w'\u2019-]+ ?){1,5}|"
    r"\b(?:C\.|[Cc]alle|[Cc]amino|[Pp]aseo|[Pp]laza|[Aa]lameda|[Aa]venida|[Aa]vda\.?|[Vv]ia|[Vv]iale|[Pp]iazza|"
    r"[Rr]ua|[Uu]l\.) (?:de )?(?:[A-Z\u00c0-\u017d][\w'\u2019-]+ ?){1,4},? (?:n\.? ?)?\d{1,4}\b"
)
_CERTAIN = tuple(number for number in NUMBERS if number.title in {
    "GB NINO", "IT codice fiscale", "ES DNI", "ES NIE", "MX CURP", "CN resident identity number", "FI henkilötunnus",
    "IN PAN", "FR NIR", "CH AHV number", "SG NRIC"})  # fmt: skip
_WORDS = re.compile(r"[A-Za-z0-9][\w.+-]{7,20}")


def entities_in(text: str) -> frozenset[str]:
    """Return the kinds of which a text holds something."""
    found = set()
    if "@" in text and _EMAIL.search(text):
        found.add("email")
    if _URL.search(text):
        found.add("url")
    if _has_digits(text):
        found |= _numbered(text)
    if _is_named(text):
        found.add("name")
    if is_medical(text):
        found.add("health")
    return frozenset(found)


def _has_digits(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _numbered(text: str) -> set[str]:
    found = set()
    rest = text
    for kind, pattern, check in (("iban", _IBAN, _holds_iban), ("card", _CARD, is_payment_card)):
        for match in pattern.finditer(rest):
            if check(match[0]):
                found.add(kind)
                rest = rest.replace(match[0], " ")
    if _SSN.search(rest):
        found.add("national_id")
        rest = _SSN.sub(" ", rest)
    if any(
        number.matches(word.strip(".")) for word in _WORDS.findall(rest) for number in _CERTAIN if _has_digits(word)
    ):
        found.add("national_id")
    for match in _IP.finditer(rest):
        if _is_address(match[0]) and not _VERSION.search(rest[: match.start()]):
            found.add("ip")
    bare = (match for match in _BARE.finditer(rest) if _PHONE_CUE.search(rest[: match.start()]))
    if _PHONE.search(rest) or next(bare, None) is not None:
        found.add("phone")
    if _DATED.search(rest):
        found.add("birth_date")
    if _STREET.search(rest):
        found.add("address")
    return found


def _holds_iban(candidate: str) -> bool:
    """Return whether the candidate, or what is left of it without a last group or two, is an IBAN."""
    parts = candidate.split(" ")
    return any(is_iban(" ".join(parts[:end])) for end in range(len(parts), max(len(parts) - 3, 0), -1))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_named(text: str) -> bool:
    if _CUED_NAME.search(text) or _TITLED.search(text):
        return True
    return any(_is_pair(match[1] or match[3], match[2] or match[4]) for match in _PAIR.finditer(text))


def _is_pair(first: str, last: str) -> bool:
    if _NO_PERSON.match(first) or _THINGS.match(last):
        return False
    return first.lower() in given_names() and last.lower() in family_names()
