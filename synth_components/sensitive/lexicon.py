"""Words that tell what a value is: names of people, medical terms, the values of common attributes."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module

LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "pt_PT")
"""Whose given and family names are known.  Names of other places are found by the column's name and their form."""

_LISTS = ("first_names", "first_names_male", "first_names_female", "last_names", "last_names_male", "last_names_female")


@cache
def given_names() -> frozenset[str]:
    """Return the given names of the known locales, in lower case."""
    return frozenset(name for listed in _LISTS[:3] for name in _names(listed))


@cache
def family_names() -> frozenset[str]:
    """Return the family names of the known locales, in lower case."""
    return frozenset(name for listed in _LISTS[3:] for name in _names(listed))


def _names(listed: str) -> list[str]:
    found = []
    for locale in LOCALES:
        provider = import_module(f"faker.providers.person.{locale}").Provider
        found += [part for name in getattr(provider, listed, ()) for part in re.findall(r"[^\W\d_]{2,}", name.lower())]
    return found


_NAME = re.compile(
    r"(?:(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sr|Sra|Herr|Frau|Hr|Fr|M|Mme|Mlle|Dott|Ing|Mgr|Bc)\.? )*"
    r"[^\W\d_][^\W\d_'\u2019.-]*(?:['\u2019.-][^\W\d_]+)*\.?,?"
    r"(?: [^\W\d_][^\W\d_'\u2019.-]*(?:['\u2019.-][^\W\d_]+)*\.?,?){0,5}"
)
_NO_PERSON = re.compile(
    r"\b(?:inc|ltd|llc|gmbh|corp|co|company|group|sons|plc|ag|sa|bv|bank|university|school|hospital|clinic|street|road|"
    r"avenue|shirt|shoes?|dress|jacket|sofa|chair|lamp|table|phone|watch|bag|kit|set|pack|edition|series|pro|max|mini|"
    r"the|of|and|for|with|in|on|to|is|city|county|north|south|east|west|new|blue|red|green|black|white|small|large)\b",
    re.IGNORECASE,
)


def is_formed_like_a_name(text: str) -> bool:
    """Return whether the text is one to six words of letters, none of them a thing or a company."""
    return _NAME.fullmatch(text) is not None and _NO_PERSON.search(text) is None


def is_full_name(text: str) -> bool:
    """Return whether the text is formed like a name, and one of its words is a known given name.

    Another must be a known family name, or start with a capital letter.
    """
    if not is_formed_like_a_name(text):
        return False
    parts = re.findall(r"[^\W\d_]{2,}", text)
    known = [part for part in parts if part.lower() in given_names()]
    rest = [part for part in parts if part.lower() in family_names() or part[0].isupper()]
    return len(parts) >= 2 and bool(known) and len(rest) >= 2


def is_known_name(text: str) -> bool:
    """Return whether the text is formed like a name, and one of its words is a known given or family name."""
    parts = re.findall(r"[^\W\d_]{2,}", text.lower())
    return is_formed_like_a_name(text) and any(part in given_names() or part in family_names() for part in parts)


_MEDICAL = re.compile(
    r"\b(?:diabet|hypertens|asthma|cancer|carcinom|tumou?r|leuk[a]?emi|lymphom|melanom|an[a]?emi|pneumoni|bronchit|"
    r"influenza|hepatit|cirrhos|nephr|renal failure|kidney disease|dialysis|stroke|infarct|angina|arrhythmi|fibrillat|"
    r"heart failure|coronary|thrombo|embol|epilep|seizure|migraine|dementia|alzheimer|parkinson|multiple sclerosis|"
    r"schizophren|bipolar|depress(?:ion|ive)|anxiety|ptsd|autis|adhd|hiv\b|aids\b|tubercul|malaria|sepsis|covid|arthrit|"
    r"osteopor|fracture|psoriasis|eczema|dermatit|gastrit|ulcer|crohn|colitis|appendicit|pancreat|gallston|"
    r"endometri|pregnan|miscarriage|abortion|preeclamp|obes|anorexi|bulimi|hypothyroid|hyperthyroid|glaucoma|cataract|"
    r"copd|emphysem|fibrosis|neuropath|sciatica|hernia|syphilis|chlamydia|gonorrh|herpes|alcohol (?:abuse|dependence)|"
    r"substance abuse|overdose|chemotherap|biops|insulin|metformin|warfarin|statin\b|amoxicillin|ibuprofen|"
    r"paracetamol|lisinopril|omeprazol|sertralin|fluoxetin|prednison|morphine|oxycodon|methadon|"
    r"lupus\b|gout\b|shingles\b|measles\b|mumps\b|whooping cough|insomnia|apnoea|apnea|tinnitus|vertigo|concussion|"
    r"kidney stones?|slipped disc|torn (?:meniscus|ligament)|hearing loss|infertil|paralys|transplant|burnout\b|"
    r"cysts?\b|"
    r"(?:heart|lung|liver|kidney|skin|bone|blood|joint|thyroid|coeliac|celiac|lyme|wilson's|graves') disease|"
    r"(?:back|chest|abdominal|joint|pelvic) pain|(?:eating|panic|mood|thyroid|personality|anxiety|sleep) disorder|"
    r"\w{3,}(?:itis|algia(?<!nostalgia)|aemia|opath(?:y|ies)|osis(?<!metamorphosis)(?<!osmosis)(?<!hypnosis)(?<!diagnosis)(?<!prognosis))\b|"
    r"(?!academia|bohemia)\w{3,}emia\b)",
    re.IGNORECASE,
)


def is_medical(text: str) -> bool:
    """Return whether the text names an illness or a drug, by a small list of English and Latin roots."""
    return _MEDICAL.search(text) is not None


VALUES: dict[str, frozenset[str]] = {
    "sex": frozenset(
        re.findall(
            r"\S+",
        "m f male female man woman men women boy girl non-binary nonbinary diverse divers other unknown x u w "
        "männlich weiblich mann frau homme femme masculin féminin masculino femenino hombre mujer maschio femmina "
        "transgender trans intersex",
        )
    ),
    "marital_status": frozenset(
        {
            "married", "single", "divorced", "widowed", "separated", "never married", "never-married", "unmarried",
            "civil partnership", "domestic partner", "married-civ-spouse", "married-spouse-absent", "married-af-spouse",
            "ledig", "verheiratet", "geschieden", "verwitwet", "célibataire", "marié", "divorcé", "veuf", "soltero",
            "casado", "divorciado", "viudo", "cohabiting", "engaged", "other", "unknown",
        }
    ),
    "ethnicity": frozenset(
        {
            "white", "black", "asian", "hispanic", "latino", "latina", "latinx", "caucasian", "african american",
            "black or african american", "native american", "american indian", "american indian or alaska native",
            "amer-indian-eskimo", "asian-pac-islander", "pacific islander", "native hawaiian", "mixed", "multiracial",
            "two or more races", "hispanic or latino", "not hispanic or latino", "arab", "roma", "other", "unknown",
            "middle eastern",
        }
    ),
    "religion": frozenset(
        {
            "christian", "catholic", "protestant", "orthodox", "muslim", "islam", "jewish", "hindu", "buddhist", "sikh",
            "atheist", "agnostic", "none", "other", "unknown", "christianity", "judaism", "hinduism", "buddhism",
            "sikhism", "jain", "evangelisch", "katholisch", "lutheran", "anglican", "methodist", "baptist",
        }
    ),
    "political_opinion": frozenset(
        {
            "democrat", "republican", "independent", "labour", "conservative", "liberal", "green", "libertarian",
            "socialist", "social democrat", "other", "unknown", "none",
        }
    ),
    "sexual_orientation": frozenset(
        {"heterosexual", "straight", "gay", "lesbian", "bisexual", "homosexual", "asexual", "queer", "other", "unknown"}
    ),
    "blood_type": frozenset({"a+", "a-", "b+", "b-", "ab+", "ab-", "o+", "o-", "0+", "0-"}),
}  # fmt: skip
"""The usual values of attributes that few words exhaust, in lower case, by kind."""

EMPTY_WORDS = frozenset({"other", "unknown", "none", "x", "u", "single", "independent", "green", "white", "black"})
"""Words that tell nothing by themselves: a column of these alone is of no kind."""
