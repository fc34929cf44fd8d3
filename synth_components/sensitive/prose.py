"""What is said of people in the middle of a text: found by check digits, forms and cues before names."""

from __future__ import annotations

import ipaddress
import re

from synth_components.characters import plain
from synth_components.sensitive.entity import is_payment_card
from synth_components.sensitive.lexicon import family_names, given_names, is_medical
from synth_components.sensitive.national import NUMBERS
from synth_components.sensitive.person import BEFORE_THINGS, THINGS
from synth_components.sensitive.street import holds_street
from synth_components.statistics.pattern import is_iban

_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
_URL = re.compile(r"(?:https?|ftp)://\S+|www\.\w\S+\.\w+")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){11,18}(?![\d-])")
_IP = re.compile(r"(?<![\w.])((?:\d{1,3}\.){3}\d{1,3})(:\d{2,5}(?![\w:]))?(?![\w]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_TELLING6 = re.compile(r"(?:^|:)(?:[23][0-9A-Fa-f]{3}|f[cdef][0-9A-Fa-f]{2})(?:$|:)", re.IGNORECASE)
"""A group as those in use begin with (RFC 4291): ``a::1`` may be code."""
_VERSION = re.compile(
    r"(?:\bv|version|release|firmware|build|driver|section|sect\.|\u00a7|chapter|clause|article|paragraph|rule|patch(?:ed)?|"
    r"roll(?:ed)? back|update[d]?|upgrade[d]?)\W*(?:to |since )?$",
    re.IGNORECASE,
)
_NETWORK = re.compile(
    r"\b(?:ip|ips|ipv4|addr|address|host|server|client|gateway|router|proxy|dns|network|subnet|firewall|ping(?:ed|s)?|"
    r"log(?:s|in|on|ged)?|session|connect(?:ed|ion|ions)?|request(?:s|ed)?|traffic|port|block(?:ed|s)?|whitelist(?:ed)?|"
    r"blacklist(?:ed)?|attempt(?:s|ed)?|vpn|ssh)\b",
    re.IGNORECASE,
)
_CUE_LETTERS = 120
_LEAST_OF_ADDRESS = 100  # parts of versions and sections are seldom as large
_SSN = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}|"
    r"\(0?\d{2,5}\) ?\d{3,6}(?:[ -]?\d{2,4}){0,2}|0\d(?: \d\d){4}|"
    r"(?:(?:00)?1-)?\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5})(?: ?x ?\d{1,5})?(?![\w-]|"
    r"\.\d)"
)
_PHONE_CUE = re.compile(
    r"\b(?:phone|tel|telephone|call|mobile|cell|fax|ring|dial(?:led|ed)?|text(?:ed)?|whatsapp|message at|"
    r"(?:phone|mobile|contact|callers?|caller's|his|her|their|my|home|office) number|(?:me|him|her|them|back|us) (?:at|"
    r"on|under))\b\W{0,3}(?:\w+\W+){0,2}$",
    re.IGNORECASE,
)
_GROUPED = re.compile(r"(?<![\w.-])[(+]?\d[\d ()./-]{5,20}\d(?![\w-]|\.\d)")
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15
"""Of a telephone number (ITU-T E.164)."""
_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}")
_CAP = r"[A-Z\u00c0-\u017d\u0218-\u021b][\w'\u2019-]+"
_PARTICLE = r"(?:(?:de|da|do|dos|del|di|du|la|le|van|von|der|den|ter|ten|zu|af|av|y|e) )*"
_FULL = rf"(?P<first>{_CAP})(?: (?:[A-Z]\.|{_CAP}))?? {_PARTICLE}(?P<last>{_CAP})"
_CUED_NAME = re.compile(
    r"\b(?:(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Herr|Frau|Mme|M|Sr|Sra|Signora?|Pan|Pani)\.?|(?:[Pp]atient|[Cc]lient|"
    r"[Cc]ustomer|[Ss]tudent|[Tt]enant|[Aa]gent|[Ee]mployee|[Ww]itness|[Cc]laimant|[Aa]pplicant|[Mm]ember|"
    r"[Cc]olleague|[Nn]eighbou?r|[Mm]anager|[Dd]octor|[Nn]urse)(?: named| name:?)?|[Nn]ame is|I am|I'm|"
    r"[Ss]igned(?: (?:for )?by)?|(?i:escalated|filled in|written|called|reported|approved|sent|paid|seen|made out) by|"
    r"[Ss]incerely,?|[Ff]aithfully,?|[Rr]egards,?|(?:[Ss]poke|[Tt]alked|[Mm]et|[Aa]greed) (?:to|with)|[Cc]ontacted|"
    r"[Tt]old|[Aa]sked|[Cc]laim of|"
    r"[Cc]alled by|[Rr]eferred by|[Dd]ear)[ \n]+" + _FULL
)
_ACTING = re.compile(
    rf"(?<![\w.] )\b{_FULL} (?:called|said|says|told|asked|asks|wrote|phoned|rang|signed|wants|wanted|agreed|"
    r"confirmed|complained|visited|thinks|refuse[sd]|promised|paid|lives|works|married|was born|moved)\b"
)
_TITLED = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau|Mme|Sra?)\.? [A-Z\u00c0-\u017d][\w'\u2019-]+")
_PAIR = re.compile(r"(?<![\w.] )\b([A-Z\u00c0-\u017d][a-z\u00df-\u017e'\u2019-]+) (?:[A-Z]\. "
                   r")?([A-Z\u00c0-\u017d][a-z\u00df-\u017e'\u2019-]+)\b|"
                   r"\b([A-Z\u00c0-\u017d][a-z\u00df-\u017e]+) "
                   r"([A-Z\u00c0-\u017d][a-z\u00df-\u017e'\u2019-]+)\b")  # fmt: skip
_DATED = re.compile(
    r"(?:\bD\.?O\.?B\.?|[Bb]orn(?: on)?|[Dd]ate of birth|[Bb]irth ?da(?:te|y)|[Gg]eb(?:oren|\.)(?: am)?|[Nn]ée? le|"
    r"[Nn]acid[oa] el)\W{0,4}(?:is |was )?"
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}\.? [A-Z][a-z]+ \d{4}|[A-Z][a-z]+ \d{1,2},? \d{4})"
)
_CERTAIN = tuple(number for number in NUMBERS if number.title in {
    "GB NINO", "IT codice fiscale", "ES DNI", "ES NIE", "MX CURP", "CN resident identity number", "FI henkilötunnus",
    "IN PAN", "FR NIR", "CH AHV number", "SG NRIC"})  # fmt: skip
_WORDS = re.compile(r"[A-Za-z0-9][\w.+-]{7,20}")


def entities_in(text: str) -> frozenset[str]:
    """Return the kinds of which a text holds something."""
    found = set()
    text = plain(text)
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
    if _holds_address(rest):
        found.add("ip")
    if _PHONE.search(rest) or any(_is_called(match, rest) for match in _GROUPED.finditer(rest)):
        found.add("phone")
    if _DATED.search(rest):
        found.add("birth_date")
    if holds_street(rest):
        found.add("address")
    return found


def _is_called(match: re.Match[str], text: str) -> bool:
    """Return whether digits, grouped in any way, are said to be a number to call."""
    digits = sum(letter.isdigit() for letter in match[0])
    is_cued = _PHONE_CUE.search(_before(match, text)) is not None
    return is_cued and _FEWEST_DIGITS <= digits <= _MOST_DIGITS and _DATE.fullmatch(match[0]) is None


def _holds_iban(candidate: str) -> bool:
    """Return whether the candidate, or what is left of it without a last group or two, is an IBAN."""
    parts = candidate.split(" ")
    return any(is_iban(" ".join(parts[:end])) for end in range(len(parts), max(len(parts) - 3, 0), -1))


def _before(match: re.Match[str], text: str) -> str:
    """Return the text that a cue stands in: all that comes before would be read again for each number."""
    return text[max(match.start() - _CUE_LETTERS, 0) : match.start()]


def _holds_address(text: str) -> bool:
    """Return whether a text holds an IP address.

    Four numbers are no version if one of them is large, a port follows, or the text speaks of networks.
    """
    speaks: bool | None = None
    for match in _IP.finditer(text):
        is_likely = match[2] is not None or max(map(int, match[1].split("."))) >= _LEAST_OF_ADDRESS
        if not is_likely and speaks is None:
            speaks = _NETWORK.search(text) is not None
        if (is_likely or speaks) and _is_address(match[1]) and not _VERSION.search(_before(match, text)):
            return True
    return any(_TELLING6.search(match[0]) and _is_address(match[0]) for match in _IP6.finditer(text))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_named(text: str) -> bool:
    if _TITLED.search(text):
        return True
    said = (match for pattern in (_CUED_NAME, _ACTING) for match in pattern.finditer(text))
    if any(not BEFORE_THINGS.match(match["first"]) and not THINGS.match(match["last"]) for match in said):
        return True
    return any(_is_pair(match[1] or match[3], match[2] or match[4]) for match in _PAIR.finditer(text))


def _is_pair(first: str, last: str) -> bool:
    if BEFORE_THINGS.match(first) or THINGS.match(last):
        return False
    return first.lower() in given_names() and last.lower() in family_names()
