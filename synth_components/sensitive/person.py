"""Whether a column holds full names of persons, also of places whose names no list has, by form and variety."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synth_components.sensitive.lexicon import is_formed_like_a_name, is_full_name

_FEWEST, _LONGEST = 20, 100
"""Distinct names, and characters of one."""
_FORMED, _KNOWN = 0.9, 0.15
"""Share of texts that have the form, and that hold a given name which a list has after all."""
_MANY, _SOME = 0.5, 0.15
"""Different first or last words by text, whichever are more, and the others: things come in few combinations."""

BEFORE_THINGS = re.compile(
    r"^(?:The|This|That|These|New|North|South|East|West|Saint|San|Santa|Los|Las|Mount|Lake|Fort|Port|Great|Upper|"
    r"Lower|Dear|Our|Your|"
    r"My|Please|January|February|March|April|May|June|July|August|September|October|November|December|Monday|Tuesday|"
    r"Wednesday|"
    r"Thursday|Friday|Saturday|Sunday)$"
)
"""First words of names of places and things, and of no person."""
THINGS = re.compile(
    r"^(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Park|Hospital|Clinic|University|College|School|Bank|Inc|Ltd|Corp|"
    r"Company|Group|"
    r"Shirt|Jacket|Dress|Chair|Sofa|Lamp|Watch|Phone|Edition|Series|Hotel|Airport|Station|River|Valley|County|City|"
    r"Beach|Island|"
    r"Syndrome|Disease|Test|Model|Theorem|Law|Award|Prize|Cup|League|Stadium|Museum|Church|Bridge|Tower|Square|"
    r"Services?|Support|Office|Team|Department|Resources|Sales|Board|Council|Committee|Ministry|Agency|Airlines?|Systems?|"
    r"Police|Press|News|Store|Shop|Cent(?:er|re)|House|Club|Union|Insurance|Desk|Court|Partners|Foundation|Association)$"
)
"""Last words of them."""
_LANDSCAPE = re.compile(
    r"\b(?:alley|bay|beach|bridge|brook|camp|canyon|cape|center|circles?|cliffs?|common|corners?|coves?|creek|crest|"
    r"crossing|dale|estates?|falls|ferry|fields?|flats?|fords?|forest|forge|forks?|freeway|gardens?|gateway|glens?|greens|"
    r"groves?|harbou?rs?|haven|heights|hills?|hollow|inlet|islands?|isle|junctions?|keys?|knolls?|lakes?|landing|lodge|"
    r"mall|manors?|meadows?|mews|mills?|mission|mountains?|oval|parks?|pass|passage|path|pike|pines?|plains?|plaza|"
    r"points?|ports?|prairie|ramp|ranch|rapids?|rest|ridges?|river|roads|route|row|shoals?|shores?|skyway|springs?|spurs?|"
    r"squares?|station|stream|streets|summit|terrace|trace|track|trafficway|trail|tunnel|turnpike|union|unions|valleys?|"
    r"via|viaduct|views?|villages?|ville|vista|walks?|wall|ways?|wells|drives?|roads?|streets?|place|lane|rue|chemin|"
    r"avenue|boulevard|calle|avenida|plaza|paseo|piazza|viale|vicolo|borgo|contrada|rotonda|strada|stretto|canale|"
    r"incrocio|rua|travessa|ulica|palm|las|los|el)\b",
    re.IGNORECASE,
)


def are_names(texts: Sequence[str], *, is_named: bool) -> bool:
    """Return whether texts are full names of persons, of whatever place.

    Nearly all are two to five words with capitals, none of them a thing, a place or a company; first words, or last
    ones, are as many as people's; and some of the given names are known, or the column is called so.

    Args:
        texts: Distinct ones.
        is_named: Whether the column's name suggests it.
    """
    n = len(texts)
    if n < _FEWEST or sum(map(_is_formed, texts[:_FEWEST])) < _FORMED / 2 * _FEWEST:
        return False
    different = [len({text.split(" ")[place] for text in texts}) for place in (0, -1)]
    if max(different) < _MANY * n or min(different) < _SOME * n or sum(map(_is_formed, texts)) < _FORMED * n:
        return False
    return is_named or sum(map(is_full_name, texts)) >= _KNOWN * n


def _is_formed(text: str) -> bool:
    parts = text.split(" ")
    if not 2 <= len(parts) <= 5 or len(text) > _LONGEST or any(part[:1].islower() for part in parts):
        return False
    is_thing = BEFORE_THINGS.match(parts[0]) or THINGS.match(parts[-1]) or _LANDSCAPE.search(text)
    return is_formed_like_a_name(text) and not is_thing
