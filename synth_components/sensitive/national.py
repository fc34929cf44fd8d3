"""National identifiers of many countries: form, and check digits where the country has them.

Every rule is that of the issuing authority; where none publishes check digits (US, GB NINO, IN PAN, PK, MY, since 2007
DK) the form, and the date within, is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synth_components.sensitive.checksum import luhn, mod_11_2, mod_11_10, verhoeff, weighted


@dataclass(frozen=True)
class NationalNumber:
    """A number that a country gives its residents.

    Attributes:
        country: ISO 3166-1 code.
        name: What it is called there.
        form: Regular expression that the whole text matches.
        check: What else must hold of the text without separators; ``None`` if there are no check digits.
        is_certain: Whether the form alone, without check digits, is telling.
    """

    country: str
    name: str
    form: re.Pattern[str]
    check: Callable[[str], bool] | None = None
    is_certain: bool = True

    @property
    def title(self) -> str:
        """Country and name: ``NL BSN``."""
        return f"{self.country} {self.name}"

    def matches(self, text: str) -> bool:
        """Return whether the whole text is such a number."""
        if self.form.fullmatch(text) is None:
            return False
        return self.check is None or self.check(re.sub(r"[ ./()-]", "", text).upper())


def _is_date(month: str, day: str, *, month_offsets: Sequence[int] = (0,)) -> bool:
    return any(1 <= int(month) - offset <= 12 for offset in month_offsets) and 1 <= int(day) <= 31


def _steuer_id(text: str) -> bool:
    counts = sorted((text[:10].count(digit) for digit in set(text[:10])), reverse=True)
    return counts[0] in {2, 3} and (len(counts) == 1 or counts[1] == 1) and mod_11_10(text)


def _rentenversicherung(text: str) -> bool:
    if not _is_date(text[4:6], str(int(text[2:4]) % 50 or 1)):
        return False
    digits = f"{text[:8]}{ord(text[8]) - 64:02d}{text[9:11]}"
    products = [int(d) * w for d, w in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True)]
    return sum(product // 10 + product % 10 for product in products) % 10 == int(text[11])


def _nir(text: str) -> bool:
    body = text[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(text[13:])


def _dni(text: str) -> bool:
    number = int(text[:-1].translate(str.maketrans("XYZ", "012")))
    return text[-1] == "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]


_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
         10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip


def _codice_fiscale(text: str) -> bool:
    total = sum(
        _ODD[letter] if position % 2 == 0 else int(letter) if letter.isdigit() else ord(letter) - 65
        for position, letter in enumerate(text[:15])
    )
    return text[15] == chr(65 + total % 26)


def _nif(text: str) -> bool:
    return (11 - weighted(text, range(9, 1, -1)) % 11) % 11 % 10 == int(text[8])


def _bsn(text: str) -> bool:
    return int(text) > 0 and (weighted(text, range(9, 1, -1)) - int(text[8])) % 11 == 0


def _rijksregister(text: str) -> bool:
    check = int(text[9:])
    return int(text[2:4]) % 20 <= 12 and check in {97 - int(text[:9]) % 97, 97 - int(f"2{text[:9]}") % 97}


def _pesel(text: str) -> bool:
    is_date = _is_date(text[2:4], text[4:6], month_offsets=(0, 20, 40, 60, 80))
    return is_date and weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _rodne_cislo(text: str) -> bool:
    if not _is_date(text[2:4], text[4:6], month_offsets=(0, 20, 50, 70)):
        return False
    return int(text) % 11 == 0 or (int(text[:9]) % 11 == 10 and text[9] == "0")


def _personnummer(text: str) -> bool:
    short = text.replace("+", "")[-10:]
    day = int(short[4:6])
    return _is_date(short[2:4], str(day - 60 if day > 60 else day)) and luhn(short)


def _fodselsnummer(text: str) -> bool:
    day = int(text[:2])
    first = weighted(text, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
    second = weighted(text, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    return first and second and _is_date(text[2:4], str(day - 40 if day > 40 else day), month_offsets=(0, 40, 80))


def _henkilotunnus(text: str) -> bool:
    digits = re.sub(r"\D", "", text[:-1])
    if len(digits) != 9 or not _is_date(digits[2:4], digits[:2]):
        return False
    return text[-1] == "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31]


def _cpr(text: str) -> bool:
    return _is_date(text[2:4], text[:2])


def _ahv(text: str) -> bool:
    return weighted(text, (1, 3) * 6 + (1,)) % 10 == 0


def _svnr(text: str) -> bool:
    is_date = _is_date(text[6:8], text[4:6], month_offsets=(0, 1, 2, 3))
    return is_date and weighted(text, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == int(text[3])


def _pps(text: str) -> bool:
    extra = ord(text[8]) - 64 if len(text) == 9 and text[8] != "W" else 0
    return text[7] == "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(text[:7], range(8, 1, -1)) + 9 * extra) % 23]


def _amka(text: str) -> bool:
    return _is_date(text[2:4], text[:2]) and luhn(text)


def _cnp(text: str) -> bool:
    check = weighted(text, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return _is_date(text[3:5], text[5:7]) and (1 if check == 10 else check) == int(text[12])


def _egn(text: str) -> bool:
    is_date = _is_date(text[2:4], text[4:6], month_offsets=(0, 20, 40))
    return is_date and weighted(text, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == int(text[9])


def _jmbg(text: str) -> bool:
    return _is_date(text[2:4], text[:2]) and weighted(text, (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def _isikukood(text: str) -> bool:
    check = weighted(text, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = weighted(text, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return _is_date(text[3:5], text[5:7]) and check == int(text[10])


def _kennitala(text: str) -> bool:
    day = int(text[:2])
    return (
        _is_date(text[2:4], str(day - 40 if day > 40 else day))
        and weighted(text, (3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


def _tckn(text: str) -> bool:
    digits = [int(digit) for digit in text]
    tenth = (7 * sum(digits[0:9:2]) - sum(digits[1:8:2])) % 10
    return tenth == digits[9] and sum(digits[:10]) % 10 == digits[10]


def _cpf(text: str) -> bool:
    if len(set(text)) == 1:
        return False
    first = weighted(text, range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(text, range(11, 1, -1)) * 10 % 11 % 10
    return (first, second) == (int(text[9]), int(text[10]))


def _cuit(text: str) -> bool:
    check = 11 - weighted(text, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return {11: 0, 10: 9}.get(check, check) == int(text[10])


def _rut(text: str) -> bool:
    total = sum(
        int(digit) * weight for digit, weight in zip(reversed(text[:-1]), (2, 3, 4, 5, 6, 7, 2, 3), strict=False)
    )
    return text[-1] == "0123456789K0"[11 - total % 11]


def _curp(text: str) -> bool:
    alphabet = "0123456789ABCDEFGHIJKLMN\u00d1OPQRSTUVWXYZ"
    total = sum(alphabet.index(letter) * weight for letter, weight in zip(text[:17], range(18, 1, -1), strict=True))
    return _is_date(text[6:8], text[8:10]) and (10 - total % 10) % 10 == int(text[17])


def _cedula(text: str) -> bool:
    return (1 <= int(text[:2]) <= 24 or text[:2] == "30") and int(text[2]) < 6 and luhn(text)


def _tfn(text: str) -> bool:
    return int(text) > 0 and weighted(text, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _medicare_au(text: str) -> bool:
    return weighted(text, (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(text[8])


def _nhi(text: str) -> bool:
    alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    values = [alphabet.index(letter) + 1 for letter in text[:3]] + [int(digit) for digit in text[3:6]]
    rest = sum(value * weight for value, weight in zip(values, range(7, 1, -1), strict=True)) % 11
    return rest != 0 and (11 - rest) % 10 == int(text[6])


def _hkid(text: str) -> bool:
    letters, digits, check = text[:-7], text[-7:-1], text[-1]
    values = [36, *(ord(letter) - 55 for letter in letters)][-2:] + [int(digit) for digit in digits]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True))
    return (total + (10 if check == "A" else int(check))) % 11 == 0


def _taiwan(text: str) -> bool:
    number = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(text[0]) + 10
    return (number // 10 + number % 10 * 9 + weighted(text[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1))) % 10 == 0


def _nric(text: str) -> bool:
    offset = {"S": 0, "F": 0, "T": 4, "G": 4, "M": 3}[text[0]]
    rest = (weighted(text[1:8], (2, 7, 6, 5, 4, 3, 2)) + offset) % 11
    table = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}
    return text[8] == table[text[0]][rest]


def _rrn(text: str) -> bool:
    check = (11 - weighted(text, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    return _is_date(text[2:4], text[4:6]) and check == int(text[12])


def _my_number(text: str) -> bool:
    rest = weighted(text, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(text[11])


def _thai(text: str) -> bool:
    return (11 - weighted(text, range(13, 1, -1)) % 11) % 10 == int(text[12])


def _south_africa(text: str) -> bool:
    return _is_date(text[2:4], text[4:6]) and luhn(text)


def _rnokpp(text: str) -> bool:
    return weighted(text, (-1, 5, 7, 9, 4, 6, 10, 5, 7)) % 11 % 10 == int(text[9])


def _snils(text: str) -> bool:
    return weighted(text, range(9, 0, -1)) % 101 % 100 == int(text[9:])


def _inn(text: str) -> bool:
    first = weighted(text, (7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10
    second = weighted(text, (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10
    return (first, second) == (int(text[10]), int(text[11]))


def _nhs(text: str) -> bool:
    return (11 - weighted(text, range(10, 1, -1)) % 11) % 11 == int(text[9])


def _number(
    country: str, name: str, form: str, check: Callable[[str], bool] | None = None, *, is_certain: bool = True
) -> NationalNumber:
    return NationalNumber(country, name, re.compile(form, re.IGNORECASE), check, is_certain)


NUMBERS: tuple[NationalNumber, ...] = (
    _number("US", "SSN", r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}"),
    _number("US", "ITIN", r"9\d{2}-(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])-\d{4}"),
    _number("GB", "NINO",
            r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]"),
    _number("IT", "codice fiscale", r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPRST][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]",
            _codice_fiscale),
    _number("ES", "DNI", r"\d{8}-?[A-HJ-NP-TV-Z]", _dni),
    _number("ES", "NIE", r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]", _dni),
    _number("FR", "NIR", r"[12378] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", _nir),
    _number("MX", "CURP", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d", _curp),
    _number("IN", "PAN", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"),
    _number("CN", "resident identity number", r"[1-8]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|"
                                              r"3[01])\d{3}[\dX]",
            mod_11_2),
    _number("DE", "Rentenversicherungsnummer", r"\d{2} ?\d{6} ?[A-Z] ?\d{3}", _rentenversicherung),
    _number("FI", "henkilötunnus", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", _henkilotunnus),
    _number("IE", "PPS number", r"\d{7}[A-W][A-IW]?", _pps),
    _number("SG", "NRIC", r"[STFGM]\d{7}[A-Z]", _nric),
    _number("HK", "HKID", r"[A-Z]{1,2}\d{6}\(?[\dA]\)?", _hkid),
    _number("TW", "national identification number", r"[A-Z][1289]\d{8}", _taiwan),
    _number("NZ", "NHI number", r"[A-HJ-NP-Z]{3}\d{4}", _nhi),
    _number("CL", "RUT", r"\d{1,2}\.?\d{3}\.?\d{3}-[\dK]", _rut),
    _number("PK", "CNIC", r"[1-7]\d{4}-\d{7}-\d"),
    _number("MY", "NRIC", r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-\d{2}-\d{4}"),
    _number("CH", "AHV number", r"756\.?\d{4}\.?\d{4}\.?\d{2}", _ahv),
    _number("ZA", "identity number", r"\d{10}[0-2]\d{2}", _south_africa),
    _number("KR", "resident registration number", r"\d{6}-?[1-8]\d{6}", _rrn),
    _number("RO", "CNP", r"[1-8]\d{12}", _cnp),
    _number("RS", "JMBG", r"\d{13}", _jmbg),
    _number("TH", "citizen number", r"[1-8]-?\d{4}-?\d{5}-?\d{2}-?\d", _thai),
    _number("IN", "Aadhaar", r"[2-9]\d{3} ?\d{4} ?\d{4}", verhoeff),
    _number("RU", "INN", r"\d{12}", _inn),
    _number("JP", "My Number", r"\d{4} ?\d{4} ?\d{4}", _my_number),
    _number("NO", "fødselsnummer", r"\d{6} ?\d{5}", _fodselsnummer),
    _number("PL", "PESEL", r"\d{11}", _pesel),
    _number("BE", "rijksregisternummer", r"\d{2}\.?\d{2}\.?\d{2}-?\d{3}\.?\d{2}", _rijksregister),
    _number("EE", "isikukood", r"[1-8]\d{10}", _isikukood),
    _number("GR", "AMKA", r"\d{11}", _amka),
    _number("TR", "TCKN", r"[1-9]\d{10}", _tckn),
    _number("DE", "Steuer-ID", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", _steuer_id),
    _number("HR", "OIB", r"\d{11}", mod_11_10),
    _number("AR", "CUIT", r"(?:20|23|24|27|30|33|34)-?\d{8}-?\d", _cuit),
    _number("BR", "CPF", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", _cpf),
    _number("RU", "SNILS", r"\d{3}-?\d{3}-?\d{3}[ -]?\d{2}", _snils),
    _number("SE", "personnummer", r"(?:\d{2})?\d{6}[-+]?\d{4}", _personnummer),
    _number("BG", "EGN", r"\d{10}", _egn),
    _number("AT", "SVNR", r"[1-9]\d{3} ?\d{6}", _svnr),
    _number("IS", "kennitala", r"\d{6}-?\d{3}[089]", _kennitala),
    _number("CZ", "rodné číslo", r"\d{6}/?\d{4}", _rodne_cislo),
    _number("UA", "RNOKPP", r"\d{10}", _rnokpp),
    _number("GB", "NHS number", r"\d{3}[ -]?\d{3}[ -]?\d{4}", _nhs),
    _number("EC", "cédula", r"\d{9}-?\d", _cedula),
    _number("AU", "Medicare number", r"[2-6]\d{3} ?\d{5} ?\d", _medicare_au),
    _number("NL", "BSN", r"\d{9}", _bsn),
    _number("PT", "NIF", r"[1235689]\d{2} ?\d{3} ?\d{3}", _nif),
    _number("CA", "SIN", r"[1-79]\d{2}[ -]?\d{3}[ -]?\d{3}", luhn),
    _number("IL", "identity number", r"\d{9}", luhn),
    _number("AU", "TFN", r"\d{3} ?\d{3} ?\d{3}", _tfn),
    _number("DK", "CPR", r"\d{6}-\d{4}", _cpr, is_certain=False),
)  # fmt: skip
"""The numbers that are known, the more particular ones first: of several that fit equally the first is told."""


def national_number(texts: Sequence[str]) -> tuple[NationalNumber, float] | None:
    """Return the national number that most texts are, and the share that is; ``None`` if none fits half.

    Of several with nearly the same share, the one whose form is more particular.
    """
    if not texts:
        return None
    head = texts[:: max(1, len(texts) // 20)][:20]
    best: tuple[NationalNumber, float] | None = None
    for number in NUMBERS:
        if 2 * sum(map(number.matches, head)) < len(head):
            continue
        share = sum(map(number.matches, texts)) / len(texts)
        if share >= 0.5 and (best is None or share > best[1] + 0.05):
            best = number, share
    return best
