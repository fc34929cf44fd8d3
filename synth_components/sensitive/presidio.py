"""Presidio as a second reader of free text: an optional extra, in one place.

Presidio names what it finds by its own words; here they become ours.  What it takes for places, times and organisations
is left out, as is everything below a score of .5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from synth_components.errors import UnsupportedError

KINDS = {
    "PERSON": "name",
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "US_SSN": "national_id",
    "US_ITIN": "national_id",
    "UK_NINO": "national_id",
    "UK_NHS": "national_id",
    "CRYPTO": "crypto_address",
    "URL": "url",
    "US_PASSPORT": "passport",
    "MEDICAL_LICENSE": "license",
}
"""Our kinds by Presidio's entities."""

_LEAST = 0.5
MODEL = "en_core_web_sm"


@cache
def recogniser(model: str = MODEL) -> Callable[[str], frozenset[str]]:
    """Return what finds the kinds of which a text holds something, with a model of spaCy.

    Args:
        model: Name of a model of spaCy that is installed as a package.

    Raises:
        UnsupportedError: if Presidio or the model is not installed.

    Differs: e-mail addresses are found by us, as Presidio fetches a list of public suffixes to tell one (its issue
    1205); URLs too.  A number that has the form of a social-security number is none of a telephone.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
        from spacy.util import is_package
    except ImportError:
        raise UnsupportedError(
            "Presidio is not installed: pip install 'synth-components[presidio]', or leave the option presidio out"
        ) from None
    if not is_package(model):
        # Presidio would download it.
        raise UnsupportedError(f"the model '{model}' of spaCy is not installed; install its package, and try again")
    configuration = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]}
    engine = AnalyzerEngine(nlp_engine=NlpEngineProvider(nlp_configuration=configuration).create_engine())
    asked = sorted(set(KINDS) - {"EMAIL_ADDRESS", "URL"})
    known = [entity for entity in asked if entity in engine.get_supported_entities(language="en")]

    def kinds(text: str) -> frozenset[str]:
        results = engine.analyze(text=text, language="en", entities=known, score_threshold=_LEAST)
        spans = {(result.start, result.end) for result in results if result.entity_type == "US_SSN"}
        return frozenset(
            KINDS[result.entity_type]
            for result in results
            if result.entity_type != "PHONE_NUMBER" or (result.start, result.end) not in spans
        )

    return kinds
