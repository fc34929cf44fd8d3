"""Generated texts of a form are found to have that form, and no other."""

import base64
import hashlib
import ipaddress
import json
import uuid

import numpy as np
import pytest
from faker import Faker

from synth_components.statistics.pattern import BY_NAME, PATTERNS, is_card, is_ean, is_isbn, pattern_of

DRAWS = 40
TEXTS = 30
WORDS = ["north", "Elm", "blue", "water", "seven", "stone", "Rain", "hall", "mill", "Oak"]


def digits(rng, n):
    return "".join(map(str, rng.integers(0, 10, n)))


def letters(rng, n):
    return "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), n))


def hexes(rng, n):
    return rng.bytes(n).hex()[:n]


def ean(rng, prefix=""):
    body = prefix + digits(rng, 12 - len(prefix))
    return next(body + str(last) for last in range(10) if is_ean(body + str(last)))


def moment(rng):
    return np.datetime64("2000-01-01") + np.timedelta64(int(rng.integers(0, 10**9)), "s")


FAKE = Faker("en_US", use_weighting=False)


def faked(method):
    def draw(rng):
        FAKE.seed_instance(int(rng.integers(2**31)))
        return str(method(FAKE))

    return draw


# One text of each form.
TRUTH = {
    "email": faked(lambda fake: fake.email()),
    "uuid": lambda rng: str(uuid.UUID(bytes=rng.bytes(16))),
    "url": faked(lambda fake: fake.uri()),
    "ipv4": lambda rng: str(ipaddress.IPv4Address(int(rng.integers(2**32)))),
    "ipv6": lambda rng: str(ipaddress.IPv6Address(rng.bytes(16))),
    "mac": lambda rng: rng.bytes(6).hex(":").upper(),
    "iban": faked(lambda fake: fake.iban()),
    "ssn": faked(lambda fake: fake.ssn()),
    "isbn": lambda rng: ean(rng, "978"),
    "ean": lambda rng: ean(rng, "40"),
    "card": faked(lambda fake: fake.credit_card_number("visa16")),
    "iso_datetime": lambda rng: str(moment(rng)) + rng.choice(["", "Z", "+02:00"]),
    "iso_date": lambda rng: str(moment(rng))[:10],
    "date": lambda rng: f"{rng.integers(1, 29)}/{rng.integers(1, 13)}/{rng.integers(1950, 2030)}",
    "time": lambda rng: str(moment(rng))[11:],
    "coordinates": lambda rng: f"{rng.uniform(-90, 90):.5f}, {rng.uniform(-180, 180):.5f}",
    "percentage": lambda rng: f"{rng.uniform(0, 100):.1f}%",
    "currency": lambda rng: rng.choice(["$", "€", "GBP "]) + f"{rng.lognormal(6, 2):,.2f}",
    "version": lambda rng: ".".join(map(str, rng.integers(0, 20, 3))),
    "hex_colour": lambda rng: f"#{hexes(rng, 6)}",
    "digest": lambda rng: hashlib.sha256(rng.bytes(8)).hexdigest(),
    "phone": lambda rng: rng.choice(["+1 ", "("]) + f"{digits(rng, 3)}) {digits(rng, 3)}-{digits(rng, 4)}",
    "uk_postcode": lambda rng: f"{letters(rng, 2)}{rng.integers(1, 99)} {rng.integers(1, 9)}{letters(rng, 2)}",
    "canadian_postcode": lambda rng: "".join(f"{letters(rng, 1)}{digits(rng, 1)}" for _ in range(3)),
    "dutch_postcode": lambda rng: f"{rng.integers(1000, 9999)} {letters(rng, 2)}",
    "zip_code": lambda rng: digits(rng, 5),
    "media_type": faked(lambda fake: fake.mime_type()),
    "file_path": faked(lambda fake: fake.file_path(depth=2)),
    "host_name": lambda rng: ".".join(rng.choice(WORDS, 2)).lower() + rng.choice([".com", ".org", ".de"]),
    "json": lambda rng: json.dumps({"a": int(rng.integers(9)), "b": [1, 2]}),
    "language_tag": lambda rng: rng.choice(["en", "de", "fr", "nl"]) + "-" + letters(rng, 2),
    "handle": lambda rng: f"@{rng.choice(WORDS)}_{rng.choice(WORDS)}",
    "hashtag": lambda rng: "#" + "".join(rng.choice(WORDS, 3)),
    "icd10": lambda rng: f"{rng.choice(list('ABCDEF'))}{digits(rng, 2)}.{digits(rng, 1)}",
    "integer": lambda rng: str(rng.integers(-(10**6), 10**6)),
    "decimal": lambda rng: f"{rng.normal(0, 100):.3f}",
}
OTHER = {
    "prose": lambda rng: " ".join(rng.choice(WORDS, 6)),
    "word": lambda rng: rng.choice(WORDS) + rng.choice(WORDS),
    "name": faked(lambda fake: fake.name()),
    "street": faked(lambda fake: fake.street_address()),
    "code": lambda rng: f"{letters(rng, 3)}-{digits(rng, 4)}-{letters(rng, 1)}",
    "base64": lambda rng: base64.b64encode(rng.bytes(16)).decode(),
    "card with a wrong digit": lambda rng: next(
        text for text in iter(lambda: "-".join(digits(rng, 4) for _ in range(4)), "") if not is_card(text)
    ),
}


def texts_of(draw_one, draw, n=TEXTS):
    rng = np.random.default_rng([11, draw])
    return list(dict.fromkeys(str(draw_one(rng)) for _ in range(n)))


def test_at_least_23_patterns_are_known_and_each_is_tested():
    assert len(PATTERNS) >= 23
    assert set(TRUTH) == set(BY_NAME)


@pytest.mark.parametrize("name", TRUTH)
def test_pattern_of_at_least_95_columns_in_100_is_the_true_one(name):
    found = [pattern_of(texts_of(TRUTH[name], draw)) for draw in range(DRAWS)]

    assert sum(one is not None and one[0] == name for one in found) >= 0.95 * DRAWS


@pytest.mark.parametrize("name", OTHER)
def test_text_of_no_known_form_has_no_pattern(name):
    found = [pattern_of(texts_of(OTHER[name], draw)) for draw in range(DRAWS)]

    assert sum(one is None for one in found) >= 0.95 * DRAWS


def test_share_is_that_of_the_texts_that_match():
    texts = [*texts_of(TRUTH["email"], 0, 90)[:45], *texts_of(OTHER["word"], 0, 300)[:5]]

    assert pattern_of(texts) == ("email", 0.9)
    assert pattern_of(texts[30:]) is None  # 15 of 20
    assert pattern_of([]) is None


def test_check_digits_refuse_a_changed_digit():
    assert is_isbn("978-0-306-40615-7")
    assert is_isbn("0-306-40615-2")
    assert not is_isbn("0-306-40615-3")
    assert is_ean("4006381333931")
    assert not is_ean("4006381333932")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("iso_date", "2020-13-01"),
        ("time", "25:00"),
        ("ipv4", "1.2.3.256"),
        ("ipv6", "12:30:45"),
        ("coordinates", "91.0, 10.0"),
        ("iban", "GB83 WEST 1234 5698 7654 32"),
        ("phone", "2020-01-01"),
        ("phone", "1234567.89"),
        ("version", "2020"),
    ],
)
def test_near_miss_does_not_match(name, text):
    assert not BY_NAME[name].matches(text)
