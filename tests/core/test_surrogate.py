"""Surrogates come from the generator of random numbers alone, and stay within ranges that reach nobody."""

import ipaddress
import random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_components.errors import SchemaError, UnsupportedError
from synth_components.identifier import identifier_kind, is_card, is_iban
from synth_components.schema import Key, Text, TextKind
from synth_components.surrogate import surrogate

KINDS = get_args(TextKind)


def draw(column, n=300, seed=0, first=0):
    return surrogate(column, name="x", n=n, rng=np.random.default_rng(seed), first=first)


@pytest.mark.parametrize("kind", KINDS)
def test_same_stream_gives_the_same_text_and_another_stream_other_text(kind):
    first, again, other = draw(Text(kind=kind)), draw(Text(kind=kind)), draw(Text(kind=kind), seed=1)

    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_text_has_the_dtype_name_and_length_and_no_null(kind):
    made = draw(Text(kind=kind, dtype="string", nullable=True), n=17)

    assert (str(made.dtype), made.name, len(made), int(made.isna().sum())) == ("string", "x", 17, 0)


@pytest.mark.parametrize("kind", ["name", "email", "phone", "iban", "card", "ssn", "ip", "url", "uuid"])
def test_profile_recognises_the_surrogate_as_its_kind(kind):
    assert identifier_kind(draw(Text(kind=kind)), supported=0.0) == kind


def test_global_random_state_is_untouched():
    before = random.getstate()
    numpy_before = np.random.get_state()[1].tolist()  # noqa: NPY002 - what must stay untouched

    for kind in KINDS:
        draw(Text(kind=kind))

    assert random.getstate() == before
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002


def test_emails_end_in_reserved_domains():
    hosts = {text.split("@")[1] for text in draw(Text(kind="email"))}

    assert hosts <= {"example.com", "example.org", "example.net"}  # RFC 2606


def test_ip_addresses_lie_in_the_documentation_networks():
    nets = [ipaddress.ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]  # RFC 5737

    assert all(any(ipaddress.ip_address(text) in net for net in nets) for text in draw(Text(kind="ip")))


def test_phone_numbers_are_set_aside_for_fiction():
    assert draw(Text(kind="phone")).str.fullmatch(r"\+1-\d{3}-555-01\d\d").all()


def test_social_security_numbers_have_an_area_that_is_never_issued():
    assert draw(Text(kind="ssn")).str.fullmatch(r"9\d\d-[0-4]\d-\d{4}").all()


def test_cards_and_ibans_pass_their_checksums():
    assert all(is_card(text) for text in draw(Text(kind="card")))
    assert all(is_iban(text) and text.startswith("XX") for text in draw(Text(kind="iban")))


def test_card_numbers_fit_an_integer_column():
    made = draw(Text(kind="card", dtype="int64"))

    assert str(made.dtype) == "int64"
    assert all(is_card(str(number)) for number in made)


def test_text_that_is_no_number_is_refused_for_an_integer_column():
    with pytest.raises(SchemaError, match="cannot hold text of kind name"):
        draw(Text(kind="name", dtype="int64"))


@given(n=st.integers(0, 50), cut=st.integers(0, 50), first=st.integers(0, 2**40))
@settings(max_examples=30, deadline=None)
def test_keys_do_not_depend_on_how_the_rows_are_sharded(n, cut, first):
    cut = min(cut, n)

    whole = draw(Key(dtype="object", prefix="C-"), n=n, first=first).tolist()
    parts = [
        *draw(Key(dtype="object", prefix="C-"), n=cut, first=first),
        *draw(Key(dtype="object", prefix="C-"), n=n - cut, first=first + cut),
    ]

    assert parts == whole
    assert len(set(whole)) == n


def test_integer_keys_count_from_the_first_row():
    made = draw(Key(dtype="Int32"), n=3, first=16_384)

    assert made.tolist() == [16_384, 16_385, 16_386]
    assert str(made.dtype) == "Int32"


def test_keys_beyond_their_dtype_are_refused():
    with pytest.raises(UnsupportedError, match="declare int64"):
        draw(Key(dtype="int16"), n=2, first=2**15 - 1)


def test_textual_keys_keep_prefix_and_sort_like_numbers():
    made = draw(Key(dtype="object", prefix="C-"), n=3, first=9)

    assert made.tolist() == ["C-000000009", "C-000000010", "C-000000011"]
