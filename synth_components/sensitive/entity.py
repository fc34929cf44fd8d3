"""The kinds of sensitive columns: how each is recognised, what it is to a person, and how much harm it can do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from synth_components.characters import plain
from synth_components.identifier import hints_at, is_address, words
from synth_components.schema import TextKind
from synth_components.sensitive.checksum import luhn, verhoeff, weighted
from synth_components.sensitive.lexicon import EMPTY_WORDS, VALUES, is_formed_like_a_name, is_full_name, is_medical
from synth_components.statistics.pattern import BY_NAME, host_of, is_card, is_iban

Role: TypeAlias = Literal["direct", "quasi", "sensitive", "none"]
Level: TypeAlias = Literal["low", "medium", "high", "critical"]
Form: TypeAlias = Literal["text", "integer", "float", "boolean", "date"]
Match: TypeAlias = Callable[[str], bool]

LEVELS: tuple[Level, ...] = ("low", "medium", "high", "critical")
"""Sensitivity levels, the lowest first."""

_ANY: tuple[Form, ...] = ("text", "integer", "float", "boolean", "date")
_TEXTS: tuple[Form, ...] = ("text",)
_CODES: tuple[Form, ...] = ("text", "integer")
_NUMBERS: tuple[Form, ...] = ("integer", "float", "text")
_DATES: tuple[Form, ...] = ("date", "text")


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A kind of sensitive column.

    Attributes:
        name: Its name in results.
        title: What it is, in words.
        role: ``direct``: identifies a person by itself; ``quasi``: does together with others; ``sensitive``: what a
            person wants kept.
        level: How much harm a disclosure does.
        forms: Types of column that can hold it.
        matches: Whether a value, as text, has its form; ``None`` if only the column's name tells.
        has_checksum: Whether ``matches`` verifies check digits.
        is_lexical: Whether ``matches`` looks words up.
        alone: Share of the distinct values that must match if the name says nothing; ``None``: never enough.
        least: Fewest distinct values for that.
        prior: Names of columns that suggest it, as ``identifier.words`` writes them; or the kind whose names do.
        loosely: What must hold of the values where the name suggests it; ``None`` takes ``matches``.
        hinted: Share of the distinct values that must match then; 0: the name is enough.
    """

    name: str
    title: str
    role: Role
    level: Level
    forms: tuple[Form, ...] = _ANY
    matches: Match | None = None
    has_checksum: bool = False
    is_lexical: bool = False
    alone: float | None = None
    least: int = 1
    prior: re.Pattern[str] | TextKind | None = None
    loosely: Match | None = None
    hinted: float = 0.5

    def is_named(self, column: str) -> bool:
        """Return whether the column's name suggests it."""
        match self.prior:
            case None:
                return False
            case re.Pattern():
                return self.prior.search(words(column)) is not None
            case _:
                return hints_at(column, self.prior)


def _any_of(*names: str) -> Match:
    patterns = [BY_NAME[name] for name in names]
    return lambda text: any(pattern.matches(text) for pattern in patterns)


def _form(pattern: str, flags: int = 0) -> Match:
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.fullmatch(text) is not None


def _prior(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


def is_payment_card(text: str) -> bool:
    """Return whether the text is a card number: issuer, length and check digit (ISO/IEC 7812-1)."""
    compact = re.sub(r"[ -]", "", plain(text))
    return _ISSUERS.fullmatch(compact) is not None and luhn(compact)


_ISSUERS = re.compile(
    r"4\d{12}|4\d{15}|4\d{18}|5[1-5]\d{14}|2(?:2[2-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|(?:2131|1800)\d{11}|"
    r"3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35\d{14}|62\d{14,17}|(?:50|5[6-9]|6[0-9])\d{10,17}"
)


def _is_imei(text: str) -> bool:
    compact = re.sub(r"[ -]", "", text)
    return re.fullmatch(r"(?:01|35|86|99|4[459]|5[1-4]|98|91)\d{13}", compact) is not None and luhn(compact)


def _is_vin(text: str) -> bool:
    if re.fullmatch(r"[A-HJ-NPR-Z0-9]{17}", text) is None:
        return False
    table = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9),
                     strict=True))  # fmt: skip
    values = "".join(letter if letter.isdigit() else str(table[letter]) for letter in text)
    return "0123456789X"[weighted(values, (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)) % 11] == text[8]


def _is_routing(text: str) -> bool:
    is_district = re.fullmatch(r"(?:0\d|1[0-2]|2[1-9]|3[0-2]|6[1-9]|7[0-2]|80)\d{7}", text) is not None
    return is_district and weighted(text, (3, 7, 1) * 3) % 10 == 0


def _is_bic(text: str) -> bool:
    return re.fullmatch(r"[A-Z]{4}([A-Z]{2})[A-Z0-9]{2}(?:[A-Z0-9]{3})?", text) is not None and text[4:6] in _COUNTRIES


_COUNTRIES = frozenset(
    re.findall(
        "..",
        "ADAEALAMAOARATAUAZBABBBDBEBFBGBHBMBNBOBRBSBWBYCACHCICLCMCNCOCRCYCZDEDKDODZECEEEGESETFIFRGBGEGHGIGRGTHKHNHRHUIDIE"
        "ILINIQIRISITJMJOJPKEKHKRKWKYKZLALBLILKLTLULVMAMCMDMEMKMMMOMTMUMXMYMZNANGNINLNONPNZOMPAPEPHPKPLPTPYQARORSRURWSASESG"
        "SISKSMSNSVTHTNTRTTTWTZUAUGUSUYUZVEVNXKYEZAZMZW",
    )
)


def _is_ip(text: str) -> bool:
    """Return whether the text is an IP address; of version 4 with a port, or an octet that versions seldom have."""
    host = host_of(text)
    if BY_NAME["ipv6"].matches(host):
        return True
    return BY_NAME["ipv4"].matches(host) and (host != text or any(int(octet) >= 100 for octet in host.split(".")[:3]))


def _is_address_block(text: str) -> bool:
    """Return whether the text has two to five short lines, the first or second with a number, and a postcode later."""
    lines = text.splitlines()
    if not 2 <= len(lines) <= 5 or max(map(len, lines)) > 60:
        return False
    return (
        re.search(r"\d", " ".join(lines[:2])) is not None
        and re.search(r"\b\d{4,6}\b|\b[A-Z]{1,2}\d", lines[-1]) is not None
    )


def _is_worded(text: str) -> bool:
    """Return whether the text has a word of four letters, or one of two and something after it."""
    two = re.search(r"[^\W\d_]{2}", text)
    return re.search(r"[^\W\d_]{4}", text) is not None or (
        two is not None and any(space in text[two.end() :] for space in " \n")
    )


def _is_phone(text: str) -> bool:
    """Return whether the text is a telephone number, with its marks or with the 0 that national ones begin with."""
    if re.fullmatch(r"\d{4,5}-\d{3,4}-\d{1,2}", text):
        return False  # a code of the National Drug Code Directory
    return BY_NAME["phone"].matches(text) or re.fullmatch(r"0[1-9]\d{7,10}|\+\d[\d ]{7,16}", text) is not None


def _is_npi(text: str) -> bool:
    return re.fullmatch(r"[12]\d{9}", text) is not None and luhn(f"80840{text}")


def _is_dea(text: str) -> bool:
    if re.fullmatch(r"[ABCDEFGHJKLMPRSTUX][A-Z9]\d{7}", text) is None:
        return False
    digits = [int(digit) for digit in text[2:]]
    return (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6]


def _is_snomed(text: str) -> bool:
    return (
        re.fullmatch(r"[1-9]\d{3,14}[01][0-7]\d", text) is not None and text[-3:-1] in {"00", "10"} and verhoeff(text)
    )


def _is_loinc(text: str) -> bool:
    return re.fullmatch(r"\d{1,5}-\d", text) is not None and luhn(text.replace("-", ""))


def _is_values(kind: str) -> Match:
    known = VALUES[kind]
    return lambda text: text.strip().lower() in known


def _is_credential(text: str) -> bool:
    return _CREDENTIAL.match(text) is not None


_CREDENTIAL = re.compile(
    r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$|\$argon2(?:id|i|d)\$|\$[156]\$[^$]+\$|pbkdf2_|\{SSHA\}|"
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*$|"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}$|gh[pousr]_[A-Za-z0-9]{36,}$|xox[abprs]-|sk-[A-Za-z0-9_-]{20,}$|-----BEGIN "
)
_DIGITS = _form(r"\d+")
_CODE = _form(r"(?=.*\d)[A-Za-z0-9][A-Za-z0-9 ./_-]{2,30}")
_DATE_TEXT = _any_of("iso_date", "iso_datetime", "date")
_AGE = _form(r"\d{1,3}(?:\.0)?|\d{1,3} ?(?:[-+]|to) ?\d{0,3}|[<>]=? ?\d{1,3}|\[\d{1,3}(?:\.0)?, \d{1,3}(?:\.0)?\]")
"""A year of life, or several: with bounds, as `synth protect` writes them, too."""
_NUMBER = _form(r"[-+]?[\d.,' ]+(?:e[+-]?\d+)?|[$€£¥]? ?[\d.,' ]+(?:[kK]|[A-Z]{3})?|[A-Z]{3} ?[\d.,' ]+")


def _is_birth_year(text: str) -> bool:
    return re.fullmatch(r"(?:18|19|20)\d\d(?:\.0)?", text) is not None


ENTITIES: tuple[Entity, ...] = (
    Entity(name="credential", title="password, key or token", role="direct", level="critical", forms=_TEXTS,
           matches=_is_credential, alone=0.5, hinted=0,
           prior=_prior(r"pass ?w(or)?d|\bpwd\b|passphrase|\bsecret\b|api ?key|private key|access token|auth token|"
               r"\btoken\b|password hash|security (answer|question)|\bpin ?(code|block|number)?$|\botp\b|passwort|"
               r"mot de passe|contraseña|\bsenha\b|wachtwoord")),
    Entity(name="card", title="payment card number", role="direct", level="critical", forms=_CODES,
           matches=is_payment_card, has_checksum=True, alone=0.6, least=3, prior="card", loosely=is_card, hinted=0.5),
    Entity(name="card_security_code", title="card verification code", role="direct", level="critical", forms=_CODES,
           matches=_form(r"\d{3,4}"), hinted=0.9,
           prior=_prior(r"\bcvv2?\b|\bcvc2?\b|\bcvn\b|\bcid code\b|card (verification|security) (code|value|number)|"
               r"^security code$")),
    Entity(name="card_expiry", title="expiry date of a card", role="direct", level="high", forms=("text", "date"),
           matches=_form(r"(?:0?[1-9]|1[0-2])[/-](?:\d\d|20\d\d)|20\d\d-(?:0[1-9]|1[0-2])(?:-\d\d)?"), hinted=0.5,
           prior=_prior(r"card exp|exp(iry|iration)? (date|month|year)|^exp(iry|iration)?$|valid (thru|until)")),
    Entity(name="iban", title="bank account (IBAN)", role="direct", level="critical", forms=_TEXTS, matches=is_iban,
           has_checksum=True, alone=0.5, prior="iban"),
    Entity(name="crypto_address", title="address of a crypto-currency", role="direct", level="high", forms=_TEXTS,
           matches=_form(r"0x[0-9a-fA-F]{40}|bc1[02-9ac-hj-np-z]{11,71}|[13][1-9A-HJ-NP-Za-km-z]{25,34}"), alone=0.8,
           prior=_prior(r"wallet|crypto|bitcoin|ethereum|\bbtc\b|\beth\b")),
    Entity(name="bank_account", title="bank account number", role="direct", level="critical", forms=_CODES,
           matches=_form(r"[A-Z]{0,4}[\d -]{5,24}|[\dX*-]{6,24}"), hinted=0.5,
           prior=_prior(r"(bank|checking|savings?|deposit) (account|acct)|\b(account|acct) ?(no|nr|num|number|id)\b|"
               r"^(account|acct)$|kontonummer|numéro de compte|número de cuenta|\bcuenta\b|rekening")),
    Entity(name="routing_number", title="routing number of a bank", role="quasi", level="medium", forms=_CODES,
           matches=_is_routing, has_checksum=True, alone=0.9, least=12,
           prior=_prior(r"routing|\baba\b|\brtn\b|sort code|bank ?leitzahl|\bblz\b|\bifsc\b|\bbsb\b|transit (no|"
                        r"number)"),
           loosely=_form(r"\d{2}-?\d{2}-?\d{2}|\d{3}-?\d{3}|\d{8,9}|[A-Z]{4}0[A-Z0-9]{6}")),
    Entity(name="bic", title="code of a bank (BIC)", role="quasi", level="low", forms=_TEXTS, matches=_is_bic,
           alone=0.95, least=5, prior=_prior(r"\bbic\b|swift")),
    Entity(name="passport", title="passport number", role="direct", level="critical", forms=_CODES,
           matches=_form(r"[A-Z0-9]{6,10}", re.IGNORECASE), hinted=0.5,
           prior=_prior(r"passport|reisepass|passeport|pasaporte|passaport[eo]|paspoort|travel document")),
    Entity(name="driver_license", title="driver's licence", role="direct", level="critical", forms=_CODES,
           matches=_CODE, hinted=0.5,
           prior=_prior(r"driv(er|ing) ?s? ?li[cs]en|\bdl ?(no|num|number)\b|führerschein|permis de conduire|"
               r"licencia de conducir|patente di guida|rijbewijs")),
    Entity(name="national_id", title="national or tax identifier", role="direct", level="critical", forms=_CODES,
           matches=_form(r"[A-Z0-9][A-Z0-9 ./-]{5,20}", re.IGNORECASE), hinted=0.8,
           prior=_prior(r"\bssn\b|social (security|insurance)|national (id|identity|identification|insurance)|\bnin\b|"
               r"\bsin\b|tax ?(payer)? ?(id|identification|number|no)\b|\btin\b|\bitin\b|\bnino\b|\bbsn\b|"
               r"\bcpf\b|\bcurp\b|\brfc\b|\bdni\b|\bnie\b|\bnif\b|\bpesel\b|\bcnp\b|\begn\b|\boib\b|aadhaar|"
               r"aadhar|personnummer|fødselsnummer|\bcpr\b|\bhetu\b|codice fiscale|steuer ?(id|nummer)|"
               r"sozialversicherung|numéro de sécurité|\bnir\b|identity (no|number|card)|citizen (id|number)|"
               r"\bid card\b|personal (code|number|identity)|rodne|rodné|\bnhs (no|number|id)|resident (id|"
               r"registration)")),
    Entity(name="health_plan", title="number of a health plan", role="direct", level="critical", forms=_CODES,
           matches=_form(r"[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?"
               r"[AC-HJKMNP-RT-Y]{2}\d{2}"), alone=0.8,
           prior=_prior(r"(member|subscriber|beneficiary|insurance|policy|health ?plan|medicare|medicaid|payer|"
               r"insured) ?(id|no|nr|num|number|identifier)\b|\bmbi\b|\bhicn?\b|versichertennummer|"
               r"policy ?holder|health (card|insurance)"), loosely=_CODE),
    Entity(name="medical_record", title="medical record number", role="direct", level="critical", forms=_CODES,
           matches=_CODE, hinted=0.5,
           prior=_prior(r"\bmrn\b|medical record|\bchart ?(no|num|number|id)\b|patient ?(id|no|nr|num|number|"
                        r"identifier|key)\b|"
               r"hospital (no|number|id)|\bhadm\b|encounter ?(id|no|number)|admission ?(id|no|number)|"
               r"patienten ?nummer|subject ?(id|no|number)\b|specimen ?(id|no|number)")),
    Entity(name="student_id", title="student number", role="direct", level="high", forms=_CODES, matches=_CODE,
           hinted=0.5,
           prior=_prior(r"student ?(id|no|nr|num|number|identifier|key)\b|pupil (id|no|number)|matrikel|"
                        r"enrol?lment (no|number|id)|"
               r"learner (id|no|number)")),
    Entity(name="license", title="certificate or licence number", role="direct", level="high", forms=_CODES,
           matches=lambda text: _is_npi(text) or _is_dea(text), has_checksum=True, alone=0.9, least=12,
           prior=_prior(r"li[cs]en[cs]e ?(no|nr|num|number|id)?$|certificate ?(no|nr|num|number|id)?$|\bnpi\b|\bdea\b|"
               r"permit (no|number|id)|bar (no|number)|registration (no|number)|\bcredential (id|no|number)"),
           loosely=_CODE),
    Entity(name="vehicle", title="vehicle identifier or plate", role="direct", level="high", forms=_TEXTS,
           matches=_is_vin, has_checksum=True, alone=0.8, least=3,
           prior=_prior(r"\bvin\b|vehicle (id|identification|registration|serial|no|number)|li[cs]en[cs]e plate|"
               r"(number|registration) plate|\bplate ?(no|number)?\b|kennzeichen|immatriculation|matrícula|targa\b"),
           loosely=_form(r"(?=.*\d)[A-Z\u00c0-\u00dc0-9][A-Z\u00c0-\u00dc0-9 -]{3,16}")),
    Entity(name="device", title="device identifier or serial number", role="direct", level="high", forms=_CODES,
           matches=lambda text: _is_imei(text) or BY_NAME["mac"].matches(text), has_checksum=True, alone=0.8, least=3,
           prior=_prior(r"\bserial|device ?(id|identifier|serial|no|number|uuid)|\bimei\b|\bmeid\b|\budid\b|\bidfa\b|"
                        r"\bgaid\b|"
               r"\baaid\b|advertising id|android id|\bmac\b|implant|pacemaker|\bimsi\b|\biccid\b|seriennummer"),
           loosely=_CODE),
    Entity(name="email", title="e-mail address", role="direct", level="high", forms=_TEXTS, matches=_any_of("email"),
           alone=0.8, prior="email"),
    Entity(name="fax", title="fax number", role="direct", level="high", forms=_CODES,
           matches=_form(r"\+?[\d(][\d ()./-]{5,20}\d"), hinted=0.8, prior=_prior(r"\bfax|telefax|facsimile")),
    Entity(name="phone", title="telephone number", role="direct", level="high", forms=_CODES, matches=_is_phone,
           alone=0.8,
           prior="phone", loosely=_form(r"\+?[\d(][\d ()./-]{5,20}\d(?: ?(?:x|ext\.?) ?\d{1,6})?")),
    Entity(name="ip", title="IP address", role="direct", level="high", forms=_TEXTS, matches=_is_ip, alone=0.5, least=3,
           prior="ip", loosely=lambda text: _any_of("ipv4", "ipv6")(host_of(text)), hinted=0.8),
    Entity(name="url", title="web address", role="direct", level="medium", forms=_TEXTS, matches=_any_of("url"),
           alone=0.8, prior="url", loosely=_any_of("url", "host_name")),
    Entity(name="username", title="name of an account", role="direct", level="high", forms=_TEXTS,
           matches=_any_of("handle"), alone=0.8,
           prior=_prior(r"user ?name|\blogin\b|screen name|nick ?name|\bhandle\b|benutzername|twitter|instagram|skype"),
           loosely=_form(r"@?[\w.+-]{2,40}")),
    Entity(name="mother_maiden_name", title="mother's maiden name", role="direct", level="high", forms=_TEXTS,
           matches=is_formed_like_a_name, is_lexical=True, hinted=0.5, prior=_prior(r"mother ?s? maiden|maiden name")),
    Entity(name="name", title="name of a person", role="direct", level="high", forms=_TEXTS, matches=is_full_name,
           is_lexical=True, alone=0.6, least=5, prior="name", loosely=is_formed_like_a_name, hinted=0.8),
    Entity(name="address", title="postal address", role="direct", level="high", forms=_TEXTS,
           matches=lambda text: is_address(text) or _is_address_block(text), alone=0.8, prior="address",
           loosely=_is_worded, hinted=0.8),
    Entity(name="biometric", title="biometric template", role="direct", level="critical", hinted=0,
           prior=_prior(r"biometric|finger ?print|voice ?print|palm ?print|\biris (scan|code|template|image)|retina|"
               r"face ?(print|template|embedding|encoding|vector|geometry)|facial (recognition|features?|template)|"
               r"\bgait\b|hand geometry|keystroke dynamics")),
    Entity(name="photo", title="image of a person", role="direct", level="high", forms=_TEXTS,
           matches=_form(r"(?:data:image/.+|\S+\.(?:jpe?g|png|gif|bmp|tiff?|webp|heic|dcm))", re.I | re.DOTALL),
           alone=0.8, hinted=0,
           prior=_prior(r"photo|portrait|head ?shot|selfie|\bmug ?shot\b|\bavatar\b|profile (picture|image|pic)|"
                        r"face (image|"
               r"picture)|" r"\bpicture\b|lichtbild|\bfoto\b")),
    Entity(name="birth_date", title="date of birth", role="quasi", level="medium", forms=_DATES, matches=_DATE_TEXT,
           hinted=0.5, prior=_prior(r"birth|\bdob\b|\bborn\b|geburt|naissance|nacimiento|nascita|nascimento|geboorte|"
               r"født|födelse|urodzenia|narození|syntymä|nascita")),
    Entity(name="birth_year", title="year of birth", role="quasi", level="medium", forms=_NUMBERS,
           matches=_is_birth_year, hinted=0.8,
           prior=_prior(r"birth ?year|year ?of ?birth|\byob\b|birth|geburtsjahr|année de naissance")),
    Entity(name="death_date", title="date of death", role="quasi", level="medium", forms=_DATES, matches=_DATE_TEXT,
           hinted=0.5, prior=_prior(r"death|deceased|\bdod\b|\bdied\b|sterbedatum|décès")),
    Entity(name="age", title="age", role="quasi", level="medium", forms=_NUMBERS, matches=_AGE, hinted=0.8,
           prior=_prior(r"\bage\b(?! of| group of)|^age|\balter\b|\bedad\b|\bâge\b|\betà\b|\bidade\b|\bleeftijd\b")),
    Entity(name="sex", title="sex or gender", role="quasi", level="medium", matches=_is_values("sex"), is_lexical=True,
           alone=1.0, least=2, hinted=0,
           prior=_prior(r"\bsex\b|\bgender\b|geschlecht|\bsexe\b|\bsexo\b|\bsesso\b|\bgénero\b|\bgeslacht\b|\bkön\b")),
    Entity(name="postcode", title="postcode", role="quasi", level="medium", forms=_CODES,
           matches=_any_of("uk_postcode", "canadian_postcode", "dutch_postcode"), alone=0.8, least=3, prior="postcode",
           loosely=_form(r"[A-Z0-9][A-Z0-9 -]{1,9}", re.IGNORECASE)),
    Entity(name="coordinates", title="precise location", role="quasi", level="high", forms=("float", "text"),
           matches=_any_of("coordinates"), alone=0.8,
           prior=_prior(r"\blat(itude)?\b|\blon(g|gitude)?\b|\blng\b|coordinates|\bgeo ?(location|point|hash)\b|"
                        r"\bgps\b"),
           loosely=_form(r"[(]?-?\d{1,3}[.,]\d+.*|[0-9b-hjkmnp-z]{4,12}")),
    Entity(name="place", title="place smaller than a state", role="quasi", level="medium", forms=_CODES, hinted=0,
           prior=_prior(r"\bcity\b|\btown\b|\bvillage\b|\bcounty\b|\bdistrict\b|municipalit|neighbou?rhood|"
                        r"\bprecinct\b|\bward\b|"
               r"census (tract|block)|place of birth|birth ?place|\bborough\b|\bparish\b|\bstadt\b|\bort\b|wohnort|"
               r"\bville\b|commune|ciudad|municipio|\bcomune\b|\bcittà\b|\bcidade\b|gemeente|\bplaats\b|geburtsort")),
    Entity(name="state", title="state or region", role="quasi", level="low", forms=_TEXTS, hinted=0,
           prior=_prior(r"^state$|\bstate (code|name)\b|home state|\bprovince\b|\bregion\b|bundesland|\bprovincia\b")),
    Entity(name="country", title="country", role="quasi", level="low", forms=_TEXTS, hinted=0,
           prior=_prior(r"\bcountry\b|\bland\b(?! use)|\bpays\b|\bpaís\b|\bpaese\b")),
    Entity(name="nationality", title="nationality", role="quasi", level="medium", forms=_TEXTS, hinted=0,
           prior=_prior(r"nationalit|citizenship|native country|country of (birth|origin)|staatsangehörigkeit|"
                        r"nacionalidad")),
    Entity(name="marital_status", title="marital status", role="quasi", level="medium",
           matches=_is_values("marital_status"), is_lexical=True, alone=1.0, least=3, hinted=0,
           prior=_prior(r"marital|civil status|familienstand|estado civil|état civil|stato civile")),
    Entity(name="education", title="education", role="quasi", level="low", hinted=0,
           prior=_prior(r"^education|education (level|num|years)|highest degree|qualification|schulabschluss|bildung")),
    Entity(name="occupation", title="occupation or employer", role="quasi", level="medium", forms=_TEXTS, hinted=0,
           prior=_prior(r"occupation|\bjob ?(title)?\b|profession|employer|\bberuf\b|work ?class|workplace|"
                        r"\bposition\b|"
               r"military (rank|service)|job role|profesión|ocupación")),
    Entity(name="language", title="language", role="quasi", level="low", forms=_TEXTS, hinted=0,
           prior=_prior(r"mother tongue|(native|primary|spoken|first|home) language|muttersprache")),
    Entity(name="relationship", title="family", role="quasi", level="low", hinted=0,
           prior=_prior(r"^relationship|household size|(number of|num|no of|n) (children|dependents)|^(children|"
                        r"dependents)$|"
               r"family size")),
    Entity(name="event_date", title="date of an event", role="quasi", level="medium", forms=_DATES, matches=_DATE_TEXT,
           alone=0.8, hinted=0.5,
           prior=_prior(r"\bdate\b|admi(ssion|tted)|discharge|visit|appointment|\btime ?stamp\b|enrol|hired?\b|datum|"
                        r"fecha")),
    Entity(name="diagnosis", title="diagnosis", role="sensitive", level="high", forms=_CODES,
           matches=lambda text: BY_NAME["icd10"].matches(text), alone=0.95, least=3, hinted=0,
           prior=_prior(r"diagnos|\bicd ?(9|10|11|o)?( ?cm)?\b|\bicd\d|disease|illness|comorbid|condition (code|name)|"
               r"medical condition|symptom|\bdx\b|\bsnomed\b|krankheit|cause of death|\bdrg\b|snomed")),
    Entity(name="clinical_code", title="clinical code (SNOMED CT, LOINC)", role="sensitive", level="high", forms=_CODES,
           matches=lambda text: _is_snomed(text) or _is_loinc(text), has_checksum=True, alone=0.9, least=8,
           prior=_prior(r"loinc|\bcpt\b|hcpcs|procedure (code|name)|\bprocedure\b|treatment|surgery|concept id|"
                        r"\bops code\b"),
           hinted=0),
    Entity(name="medication", title="medication", role="sensitive", level="high", forms=_CODES,
           matches=_form(r"[ABCDGHJLMNPRSV]\d{2}[A-Z]{2}\d{2}|\d{4,5}-\d{3,4}-\d{1,2}"), alone=0.9, least=5, hinted=0,
           prior=_prior(r"medication|\bdrug\b|prescri|\bndc\b|\batc\b|\bdos(e|age)\b|medikament|médicament|medicamento|"
               r"vaccin|therapy")),
    Entity(name="health", title="health", role="sensitive", level="high", matches=is_medical, is_lexical=True,
           alone=0.6, least=3, hinted=0,
           prior=_prior(r"\bhealth\b(?! (plan|insurance|card))|blood (type|group|pressure|glucose|sugar)|\bbmi\b|"
                        r"cholesterol|"
               r"glucose|\bhba1c\b|\bsmok(er|ing)\b|\bpregnan|disabilit|\bhiv\b|allerg|mental|\blab (result|value)|"
               r"heart rate|systolic|diastolic|insulin|alcohol|\bweight kg\b|\btriage\b|\bicu\b|tumou?r|cancer|"
               r"\bdiabet|hypertension|stroke|vital (sign|status)|gesundheit|\bsanté\b|\bsalud\b|blutgruppe")),
    Entity(name="blood_type", title="blood type", role="sensitive", level="high", forms=_TEXTS,
           matches=_is_values("blood_type"), is_lexical=True, alone=1.0, least=2),
    Entity(name="genetic", title="genetic data", role="sensitive", level="critical", hinted=0,
           matches=_form(r"rs\d{3,}|[ACGT]{12,}|NM_\d+\.\d+:.+"), alone=0.8, least=3, forms=_TEXTS,
           prior=_prior(r"genotype|genom|\bdna\b|\brna\b|\bsnps?\b|allele|\bhla\b|karyotype|\bgenes?\b|genetic|"
                        r"mutation|variant "
               r"(id|call)|brca")),
    Entity(name="ethnicity", title="racial or ethnic origin", role="sensitive", level="high", forms=_CODES,
           matches=_is_values("ethnicity"), is_lexical=True, alone=1.0, least=3, hinted=0,
           prior=_prior(r"\brace\b|ethnic|\btribe\b|\bcaste\b|skin colou?r|ethnie")),
    Entity(name="religion", title="religious or philosophical belief", role="sensitive", level="high", forms=_CODES,
           matches=_is_values("religion"), is_lexical=True, alone=1.0, least=3, hinted=0,
           prior=_prior(r"religio|\bfaith\b|\bbelief|denomination|konfession|\bchurch\b")),
    Entity(name="political_opinion", title="political opinion", role="sensitive", level="high", forms=_CODES,
           matches=_is_values("political_opinion"), is_lexical=True, alone=1.0, least=3, hinted=0,
           prior=_prior(r"politic|\bparty (affiliation|membership|preference)|^party$|\bvoted? (for|choice)|"
                        r"\bideology\b")),
    Entity(name="union_membership", title="trade-union membership", role="sensitive", level="high", hinted=0,
           prior=_prior(r"(trade|labou?r) union|union (member|status)|gewerkschaft|syndicat")),
    Entity(name="sexual_orientation", title="sex life or orientation", role="sensitive", level="high", forms=_CODES,
           matches=_is_values("sexual_orientation"), is_lexical=True, alone=1.0, least=3, hinted=0,
           prior=_prior(r"sexual|orientation$|\blgbtq?")),
    Entity(name="criminal_record", title="criminal convictions and offences", role="sensitive", level="high", hinted=0,
           prior=_prior(r"criminal|conviction|offen[cs]e|\barrest|felony|misdemeano|\bprison|sentence (length|type)|"
                        r"recidiv|"
               r"vorstrafe|\bprobation\b|\bjuvenile (priors?|record)")),
    Entity(name="immigration_status", title="immigration status", role="sensitive", level="high", hinted=0,
           prior=_prior(r"immigra|\bvisa (status|type|class)|residence permit|asylum|refugee")),
    Entity(name="income", title="income or wealth", role="sensitive", level="high", forms=_ANY, hinted=0,
           prior=_prior(r"\bincome\b|salar(y|ies)|\bwages?\b|\bpay ?(rate|roll|grade)\b|\bearnings?\b|net worth|"
                        r"\bwealth\b|"
               r"compensation|capital (gain|loss)|\bbonus\b|gehalt|einkommen|\bsalaire\b|\brevenu\b|salario|"
               r"\bingresos\b|"
               r"stipendio|\brendimento\b|\binkomen\b")),
    Entity(name="credit", title="credit, debt or balance", role="sensitive", level="high", forms=_ANY, matches=_NUMBER,
           hinted=0,
           prior=_prior(r"credit ?(score|rating|limit|history|amount|utili[sz]ation)|\bfico\b|\bdebts?\b|(loan|"
                        r"mortgage) ?"
               r"(amount|balance|status|default)?$|\bbalance\b|bankrupt|\bschufa\b|\boverdraft|limit bal|bill amt|"
               r"pay amt|"
               r"default payment|delinquen|collateral")),
    Entity(name="transaction", title="purchase or transfer of a person", role="sensitive", level="medium",
           forms=_NUMBERS, hinted=0,
           prior=_prior(r"transaction (amount|value)|(transfer|withdrawal|deposit|payment) amount|\bspend(ing)?\b|"
               r"tax (paid|amount|return)|donation")),
    Entity(name="education_record", title="education record", role="sensitive", level="high", forms=_ANY, hinted=0,
           prior=_prior(r"\bgpa\b|\bgrades?\b(?! level)|grade point|\btranscript|test score|\bsat (score|math|verbal|"
                        r"total)|"
               r"\bact score|\bexam (score|result|grade)|disciplin|suspension|expulsion|special ed|\biep\b|attendance|"
               r"class rank|\bzeugnis|course (grade|mark)|final (grade|mark|score)|math score|reading score")),
)  # fmt: skip
"""Every kind, in the order in which equal evidence is decided."""

BY_ENTITY = {entity.name: entity for entity in ENTITIES}
"""The same, by name."""


def telling(texts: Sequence[str]) -> bool:
    """Return whether a column of few words says anything: not only "other", "unknown" and the like."""
    return any(text.strip().lower() not in EMPTY_WORDS for text in texts)
