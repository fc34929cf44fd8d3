"""Labelled columns: values of people by Faker, what Faker has not, and hard negatives that look like them.

There are three corpora, of different locales, seeds, column names and sentences; what each was used for,
``sensitive.py`` says.  Every column comes twice: with a telling name, and with one that tells nothing, where only kinds
that have a form or a checksum can be found.  Column names of all were written by one person, who knew the detector.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from faker import Faker

ROWS = 200

TUNING = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT")
SECOND = ("sv_SE", "no_NO", "pt_BR", "ro_RO", "hr_HR", "nl_BE", "es_MX", "en_CA", "de_AT", "en_IN", "cs_CZ", "tr_TR")
FIGURE = ("da_DK", "fi_FI", "hu_HU", "sk_SK", "sl_SI", "lt_LT", "et_EE", "es_AR", "fr_CA", "en_NZ")
OWN_NUMBERS = {
    "fi_FI",
    "et_EE",
    "hu_HU",
    "en_US",
    "en_GB",
    "de_DE",
    "fr_FR",
    "es_ES",
    "it_IT",
    "sv_SE",
    "no_NO",
    "pt_BR",
    "ro_RO",
    "hr_HR",
    "nl_BE",
    "es_MX",
    "en_CA",
    "de_AT",
    "tr_TR",
}
"""Locales for which Faker writes the number of the country; elsewhere it writes one without rules."""

CODES = frozenset({"none", "identifier", "unique"})
"""What a column of codes that are nobody's may be called: unique codes are unique."""


@dataclass(frozen=True)
class Column:
    """Values, what they are, and what a column of them is called.

    Attributes:
        label: What the detector should say; empty for a negative.
        accepted: Everything that is right.
        has_form: Whether the values alone can tell.
    """

    label: str
    accepted: frozenset[str]
    has_form: bool
    name: str
    values: pd.Series


# What Faker has not.  The arithmetic is written anew here: it must not be the detector's.


def luhn_digit(body: str) -> str:
    """Return the digit that makes a body right by Luhn."""
    total = 0
    for place, digit in enumerate(body[::-1]):
        number = int(digit) * (2 if place % 2 == 0 else 1)
        total += number - 9 * (number > 9)
    return str((10 - total % 10) % 10)


def digits(rng, n: int) -> str:
    """Return n random digits, the first not 0."""
    return str(rng.integers(1, 10)) + "".join(map(str, rng.integers(0, 10, n - 1)))


def letters(rng, n: int, alphabet: str = "ABCDEFGHJKLMNPRSTUVWXYZ") -> str:
    """Return n random letters."""
    return "".join(rng.choice(list(alphabet), n))


def imei(rng) -> str:
    """Return the number of a mobile device."""
    body = "35" + digits(rng, 12)
    return body + luhn_digit(body)


def mbi(rng) -> str:
    """Return a Medicare beneficiary identifier, by CMS' form."""
    letter = "ACDEFGHJKMNPQRTUVWXY"
    one, two, three, four, five = (letters(rng, 1, letter) for _ in range(5))
    first = f"{rng.integers(1, 10)}{one}{rng.integers(0, 10)}{rng.integers(0, 10)}"
    return f"{first}-{two}{three}{rng.integers(0, 10)}-{four}{five}{digits(rng, 2)}"


def icd10(rng) -> str:
    """Return a code of the form of ICD-10-CM, with its point."""
    return (
        f"{letters(rng, 1, 'ABCDEFGHIJKLMNOPQRSTVZ')}{rng.integers(0, 10)}{rng.integers(0, 10)}.{rng.integers(0, 10)}"
    )


SNOMED = [
    "73211009",
    "38341003",
    "195967001",
    "44054006",
    "22298006",
    "53741008",
    "84114007",
    "13645005",
    "35489007",
    "197480006",
    "396275006",
    "64859006",
    "49436004",
    "230690007",
    "363346000",
    "271737000",
    "90708001",
    "40930008",
    "34000006",
    "9014002",
]
LOINC = [
    "2345-7",
    "718-7",
    "4548-4",
    "2160-0",
    "2951-2",
    "2823-3",
    "6690-2",
    "777-3",
    "8480-6",
    "8462-4",
    "8867-4",
    "3094-0",
]


def version(rng) -> str:
    """Return a version of four parts, which looks like an address of a network."""
    return f"{rng.integers(1, 12)}.{rng.integers(0, 30)}.{rng.integers(0, 10)}.{rng.integers(0, 256)}"


def failing_card(rng) -> str:
    """Return sixteen digits that begin like a card and fail Luhn."""
    body = "4" + digits(rng, 14)
    return body + str((int(luhn_digit(body)) + int(rng.integers(1, 10))) % 10)


def failing_iban(rng) -> str:
    """Return what looks like an IBAN and is none: the check digits are off by one to nine."""
    bban = digits(rng, 18)
    right = 98 - int(f"{bban}131400") % 97
    return f"DE{(right + int(rng.integers(1, 10))) % 97:02d}{bban}"


PRODUCTS = {
    "tuning": (
        ["Oxford", "Charlotte", "Jordan", "Austin", "Paris", "Chelsea"],
        ["Shirt", "Sofa", "Sneaker", "Jacket", "Lamp", "Boots"],
    ),
    "second": (
        ["Lincoln", "Madison", "Florence", "Victoria", "Sydney", "Savannah", "Dakota", "Dallas"],
        ["Armchair", "Tote", "Cardigan", "Bookcase", "Sandals", "Mug", "Blanket", "Trainers"],
    ),
}


PRODUCTS["figure"] = (["Georgia", "Carson", "Hudson", "Brooklyn", "Windsor", "Kensington", "Carolina"],
                      ["Bench", "Kettle", "Parka", "Rug", "Backpack", "Desk", "Candle"])  # fmt: skip


def product(rng, corpus: str) -> str:
    """Return the name of a product that begins like the name of a person."""
    first, last = PRODUCTS[corpus]
    colour = rng.choice(["", "", " Grey", " Navy", " XL", " II"])
    return f"{rng.choice(first)} {rng.choice(last)}{colour}"


# Column names that tell, of the two corpora.
NAMES = {
    "tuning": {
        "name": ["full_name", "customer_name", "patientName"],
        "first_name": ["first_name"],
        "email": ["email"],
        "phone": ["phone"],
        "national_id": ["ssn", "national_id"],
        "card": ["credit_card"],
        "iban": ["iban"],
        "ip": ["ip_address"],
        "url": ["website"],
        "address": ["address"],
        "postcode": ["zip_code"],
        "birth_date": ["date_of_birth"],
        "device": ["imei"],
        "mac": ["mac_address"],
        "vehicle": ["vin"],
        "plate": ["license_plate"],
        "bank_account": ["account_number"],
        "bic": ["swift"],
        "routing_number": ["routing_number"],
        "username": ["username"],
        "credential": ["password_hash"],
        "uuid": ["user_uuid"],
        "diagnosis": ["icd10_code"],
        "clinical_code": ["snomed"],
        "loinc": ["loinc"],
        "medication": ["medication"],
        "health": ["health_notes"],
        "sex": ["sex"],
        "ethnicity": ["ethnicity"],
        "marital_status": ["marital_status"],
        "religion": ["religion"],
        "income": ["income"],
        "coordinates": ["latitude"],
        "occupation": ["job_title"],
        "place": ["city"],
        "country": ["country"],
        "medical_record": ["mrn"],
        "health_plan": ["member_id"],
        "passport": ["passport_no"],
        "driver_license": ["drivers_license"],
        "age": ["age"],
        "event_date": ["admission_date"],
        "education_record": ["gpa"],
        "biometric": ["fingerprint"],
        "cvv": ["cvv"],
        "credit": ["credit_score"],
    },
    "second": {
        "name": ["Contact Name", "employee_name", "cardholder"],
        "first_name": ["given name"],
        "email": ["EmailAddr", "work_email"],
        "phone": ["MobileNo", "tel_home"],
        "national_id": ["tax_id", "SocialSecurityNumber"],
        "card": ["cc_number", "card_no"],
        "iban": ["IBAN_code"],
        "ip": ["client_ip", "srcIP"],
        "url": ["homepage_url"],
        "address": ["street_address", "home_addr"],
        "postcode": ["PostalCode", "postcode"],
        "birth_date": ["dob", "birthDate"],
        "device": ["device_imei"],
        "mac": ["mac"],
        "vehicle": ["vehicle_vin"],
        "plate": ["plate_no"],
        "bank_account": ["bank_account_no", "acct_num"],
        "bic": ["bic"],
        "routing_number": ["aba_number"],
        "username": ["login", "user_name"],
        "credential": ["pwd", "api_token"],
        "uuid": ["guid"],
        "diagnosis": ["primary_diagnosis", "dx_code"],
        "clinical_code": ["sctid", "concept_code"],
        "loinc": ["test_code"],
        "medication": ["drug_name", "rx"],
        "health": ["medical_history", "chief_complaint"],
        "sex": ["Gender", "patient_sex"],
        "ethnicity": ["race"],
        "marital_status": ["MaritalStatus", "civil_state"],
        "religion": ["religious_affiliation"],
        "income": ["annual_salary", "household_income"],
        "coordinates": ["lat", "geo_lon"],
        "occupation": ["profession", "employer_name"],
        "place": ["hometown", "County"],
        "country": ["country_name"],
        "medical_record": ["MedicalRecordNo", "patient_number"],
        "health_plan": ["insurance_policy_number", "subscriber_id"],
        "passport": ["PassportNumber"],
        "driver_license": ["driving_licence_no", "dl_number"],
        "age": ["patient_age", "AgeYears"],
        "event_date": ["discharge_dt", "visit_date"],
        "education_record": ["final_grade", "exam_score"],
        "biometric": ["voiceprint_vector", "iris_code"],
        "cvv": ["card_security_code"],
        "credit": ["fico", "loan_balance"],
    },
}

NAMES["figure"] = {
    "name": ["AccountHolder", "primary_contact", "signatory_name"],
    "first_name": ["Forename", "firstName"],
    "email": ["e_mail", "notify_email"],
    "phone": ["telephone1", "HomePhone"],
    "national_id": ["nationalIdNumber", "taxpayer_id"],
    "card": ["payment_card", "CreditCardNum"],
    "iban": ["beneficiary_iban"],
    "ip": ["ip_addr", "login_ip"],
    "url": ["web_site", "blog_url"],
    "address": ["mailing_address", "AddressLine1"],
    "postcode": ["zip5", "postal_code"],
    "birth_date": ["date_birth", "BirthDt"],
    "device": ["IMEI", "handset_serial"],
    "mac": ["wifi_mac"],
    "vehicle": ["VIN", "vehicleIdentificationNumber"],
    "plate": ["licence_plate", "registration_plate"],
    "bank_account": ["AcctNo", "checking_account"],
    "bic": ["bank_bic"],
    "routing_number": ["RoutingNo"],
    "username": ["UserName", "twitter_handle"],
    "credential": ["passwd", "secret_key"],
    "uuid": ["person_uuid"],
    "diagnosis": ["ICD10", "admitting_diagnosis"],
    "clinical_code": ["snomed_ct"],
    "loinc": ["LOINC_NUM"],
    "medication": ["ndc", "prescribed_drug"],
    "health": ["disease", "comorbidities"],
    "sex": ["SEX", "gender_code"],
    "ethnicity": ["EthnicGroup"],
    "marital_status": ["marital"],
    "religion": ["faith"],
    "income": ["Wage", "gross_pay"],
    "coordinates": ["Latitude", "lng"],
    "occupation": ["job", "current_employer"],
    "place": ["residence_city", "municipality"],
    "country": ["CountryOfResidence"],
    "medical_record": ["chart_no", "PatientID"],
    "health_plan": ["PolicyNo", "insured_id"],
    "passport": ["passport_num"],
    "driver_license": ["DriverLicenseNo"],
    "age": ["age_at_visit", "Age"],
    "event_date": ["date_of_service", "hired_on"],
    "education_record": ["GPA", "sat_total"],
    "biometric": ["face_embedding"],
    "cvv": ["CVC", "cvv2"],
    "credit": ["CreditRating", "outstanding_debt"],
}
NEGATIVE_NAMES = {
    "tuning": {
        "code": ["order_number"],
        "none": ["value", "note"],
        "product": ["product_name"],
        "company": ["company"],
        "version": ["version"],
    },
    "second": {
        "code": ["ticket_ref", "batch", "lot"],
        "none": ["remark", "attr", "property"],
        "product": ["item_name", "article"],
        "company": ["vendor_name", "supplier"],
        "version": ["firmware_version", "build", "host_version"],
    },
}
NEGATIVE_NAMES["figure"] = {
    "code": ["shipment_no", "parcel", "invoice_ref"],
    "none": ["detail", "misc", "setting"],
    "product": ["merchandise", "sku_title"],
    "company": ["manufacturer", "brand_owner"],
    "version": ["release", "app_version", "driver"],
}
SILENT = {"tuning": ["column_{}"], "second": ["f{}", "var{}", "x_{}"]}

SILENT["figure"] = ["q{}", "attr_{}", "C{}"]
TERMS = {
    "tuning": [
        "type 2 diabetes",
        "essential hypertension",
        "asthma",
        "breast cancer",
        "pneumonia",
        "migraine",
        "depression",
    ],
    "second": [
        "chronic kidney disease",
        "atrial fibrillation",
        "bipolar disorder",
        "hepatitis C",
        "acute bronchitis",
        "rheumatoid arthritis",
        "iron deficiency anaemia",
        "lower back pain",
        "gastric ulcer",
        "vertigo",
        "HIV infection",
        "osteoporosis",
        "panic disorder",
    ],
}
TERMS["figure"] = [
    "heart failure",
    "gout",
    "epilepsy",
    "prostate cancer",
    "gestational diabetes",
    "tinnitus",
    "Crohn's disease",
    "sleep apnoea",
    "plaque psoriasis",
    "anxiety disorder",
    "chronic sinusitis",
    "hip fracture",
]
TERMS["development"] = [
    "cystitis",
    "scoliosis",
    "whooping cough",
    "thyroid disorder",
    "septicaemia",
    "shingles",
    "a slipped disc",
    "coeliac disease",
    "fibromyalgia",
    "a torn meniscus",
    "burnout",
    "ovarian cysts",
]
TERMS["unseen"] = [
    "tonsillitis",
    "sarcoidosis",
    "measles",
    "eating disorder",
    "uraemia",
    "a concussion",
    "kidney stones",
    "Lyme disease",
    "trigeminal neuralgia",
    "cardiomyopathy",
    "insomnia",
    "post-natal depression",
]
DRUGS = {
    "tuning": ["A10BA02", "C09AA05", "N02BE01", "J01CA04", "R03AC02", "N06AB03"],
    "second": ["0069-2587-41", "50090-0481-0", "0093-1075-01", "60505-2578-8", "16714-0299-1", "68180-0513-01"],
}


DRUGS["figure"] = ["0002-8215-01", "55513-0190-1", "61958-0701-1", "0173-0682-20", "59310-0579-22", "63323-0262-03"]


def _personal(fake: Faker, rng, locale: str, corpus: str) -> Iterator[tuple[str, str, bool, Callable[[], object]]]:
    """Yield what its name is listed under, its label, whether values alone tell, and the maker of a value."""
    yield "name", "name", True, fake.name
    yield "first_name", "name", False, fake.first_name
    yield "email", "email", True, fake.email
    yield "phone", "phone", True, fake.phone_number
    if locale in OWN_NUMBERS:
        yield "national_id", "national_id", True, fake.ssn
    if locale == "cs_CZ":
        yield "national_id", "national_id", True, fake.birth_number
    yield "card", "card", True, fake.credit_card_number
    yield "iban", "iban", True, fake.iban
    yield (
        "ip",
        "ip",
        True,
        fake.ipv4_public if corpus == "tuning" else (lambda: fake.ipv4() if rng.random() < 0.8 else fake.ipv6()),
    )
    yield "url", "url", True, fake.url
    yield "address", "address", True, fake.address if corpus == "tuning" else fake.street_address
    yield "postcode", "postcode", False, fake.postcode
    yield "birth_date", "birth_date", False, lambda: fake.date_of_birth().strftime(rng.choice(["%Y-%m-%d"]))
    yield "device", "device", True, lambda: imei(rng)
    yield "mac", "device", True, fake.mac_address
    yield "vehicle", "vehicle", True, fake.vin
    yield "plate", "vehicle", False, fake.license_plate
    yield (
        "bank_account",
        "bank_account",
        False,
        fake.bban if corpus == "tuning" else (lambda: digits(rng, int(rng.integers(8, 13)))),
    )
    yield "bic", "bic", True, fake.swift
    yield "routing_number", "routing_number", True, fake.aba
    yield "username", "username", False, fake.user_name
    yield "credential", "credential", True, lambda: f"$2b$12${letters(rng, 53, 'abcdefghijKLMNOP0123456789./')}"
    yield "uuid", "identifier", True, fake.uuid4
    yield "diagnosis", "diagnosis", True, lambda: icd10(rng)
    yield "clinical_code", "clinical_code", True, lambda: rng.choice(SNOMED)
    yield "loinc", "clinical_code", True, lambda: rng.choice(LOINC)
    yield "medication", "medication", True, lambda: rng.choice(DRUGS[corpus])
    yield "health", "health", True, lambda: rng.choice(TERMS[corpus])
    yield "sex", "sex", True, lambda: rng.choice(["M", "F"] if corpus == "tuning" else ["female", "male", "diverse"])
    yield "ethnicity", "ethnicity", True, lambda: rng.choice(["White", "Black", "Asian", "Hispanic", "Other"])
    yield "marital_status", "marital_status", True, lambda: rng.choice(["single", "married", "divorced", "widowed"])
    yield "religion", "religion", True, lambda: rng.choice(["Catholic", "Protestant", "Muslim", "Jewish", "none"])
    yield "income", "income", False, lambda: int(rng.lognormal(10.5, 0.5))
    yield "coordinates", "coordinates", False, lambda: round(float(rng.uniform(-90, 90)), 5)
    yield "occupation", "occupation", False, fake.job
    yield "place", "place", False, fake.city
    yield "country", "country", False, fake.country
    yield "medical_record", "medical_record", False, lambda: f"{letters(rng, 1)}{digits(rng, 7)}"
    yield "health_plan", "health_plan", True, lambda: mbi(rng)
    yield "passport", "passport", False, lambda: f"{letters(rng, 1)}{digits(rng, 8)}"
    yield "driver_license", "driver_license", False, lambda: f"{letters(rng, 2)}{digits(rng, 6)}"
    yield "age", "age", False, lambda: int(rng.integers(0, 99))
    yield "event_date", "event_date", True, lambda: fake.date()
    yield "education_record", "education_record", False, lambda: round(float(rng.uniform(0, 4)), 1)
    yield "biometric", "biometric", False, lambda: rng.bytes(24).hex()
    yield "cvv", "card_security_code", False, lambda: fake.credit_card_security_code()
    yield "credit", "credit", False, lambda: int(rng.integers(300, 851))


def _impersonal(fake: Faker, rng, corpus: str) -> Iterator[tuple[str, frozenset[str], Callable[[], object]]]:
    """Yield what its name is listed under, what it may be called, and the maker of a value."""
    none = frozenset({"none"})
    yield "code", CODES, lambda: failing_card(rng)
    yield "code", CODES, lambda: failing_iban(rng)
    yield "code", CODES, lambda: digits(rng, 9)
    yield "code", CODES, lambda: int(digits(rng, 10))
    yield "code", CODES, lambda: digits(rng, 11)
    yield "code", CODES, lambda: digits(rng, 13)
    yield "code", CODES, lambda: digits(rng, 15)
    yield "code", CODES, lambda: f"000-{digits(rng, 2)}-{digits(rng, 4)}"
    yield "code", CODES, lambda: f"{letters(rng, 2)}-{digits(rng, 4)}-{letters(rng, 2)}"
    yield "code", CODES, lambda: f"{letters(rng, 17, 'ABCDEFGH0123456789')}"
    yield "code", CODES, fake.ean13
    yield "code", CODES, lambda: hashlib.sha256(rng.bytes(8)).hexdigest()
    yield "version", CODES, lambda: version(rng)
    yield "version", CODES, lambda: f"{rng.integers(0, 9)}.{rng.integers(0, 30)}.{rng.integers(0, 99)}"
    yield "product", CODES, lambda: product(rng, corpus)
    yield "company", CODES, fake.company
    yield "none", CODES, lambda: f"#{rng.bytes(3).hex()}"
    yield "none", CODES, lambda: f"{rng.integers(1, 5000)}.{rng.integers(0, 100):02d} EUR"
    yield "none", CODES, lambda: f"{rng.integers(0, 101)}%"
    yield "none", none, lambda: float(rng.normal(50, 9))
    yield "none", none, lambda: int(rng.poisson(4))
    yield "none", none, lambda: rng.choice(["open", "closed", "pending"])
    yield "none", none, lambda: rng.choice(["red", "green", "blue", "white", "black"])
    yield "none", none, lambda: bool(rng.random() < 0.4)
    yield "none", none, lambda: rng.choice(["A", "B", "C", "D"])
    yield "none", CODES, lambda: f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}"
    yield "none", CODES, fake.file_path
    yield "none", CODES, fake.mime_type
    yield "none", none, lambda: rng.choice(["EUR", "USD", "SEK", "GBP"])
    yield "none", none, lambda: rng.choice(["en-GB", "de-DE", "sv-SE"])
    yield "none", CODES, lambda: " ".join(fake.words(2)).capitalize()
    yield "none", CODES, lambda: f"{rng.integers(1, 20)}/{rng.integers(1, 20)}"
    yield "none", CODES, lambda: f"{letters(rng, 1)}{rng.integers(1, 30)}"


def corpus(name: str, seed: int, rows: int = ROWS, locales: tuple[str, ...] | None = None) -> Iterator[Column]:
    """Yield the labelled columns of a corpus, each with a telling name and with a silent one."""
    for place, locale in enumerate(locales or {"tuning": TUNING, "second": SECOND, "figure": FIGURE}[name]):
        rng = np.random.default_rng([seed, place])
        fake = Faker(locale)
        fake.seed_instance(seed * 1000 + place)
        for number, (listed, label, has_form, make) in enumerate(_personal(fake, rng, locale, name)):
            accepted = frozenset({label}) | (
                {"medical_record", "health_plan"} if label in {"medical_record"} else set()
            )
            for title in (rng.choice(NAMES[name][listed]), rng.choice(SILENT[name]).format(number)):
                is_silent = title not in NAMES[name][listed]
                if is_silent and not has_form:
                    continue
                yield Column(label, accepted, is_silent, str(title), _series(make, rows, rng))
        for number, (listed, accepted, make) in enumerate(_impersonal(fake, rng, name), start=60):
            for title in (rng.choice(NEGATIVE_NAMES[name][listed]), rng.choice(SILENT[name]).format(number)):
                is_silent = title not in NEGATIVE_NAMES[name][listed]
                yield Column("", accepted, is_silent, str(title), _series(make, rows, rng))


def _series(make: Callable[[], object], rows: int, rng) -> pd.Series:
    values = [make() for _ in range(rows)]
    values = [str(value) if isinstance(value, np.str_) else value for value in values]
    made = pd.Series(values, dtype=object) if isinstance(values[0], str) else pd.Series(values)
    return made.mask(pd.Series(rng.random(rows) < 0.05)) if isinstance(values[0], str) else made
