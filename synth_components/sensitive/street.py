"""Street addresses within a text: by words for a street of several languages, or after a cue for a place.

The words are those of the languages of Europe and the Americas that are written in Latin letters.  An address without
such a word is found only where the text says that somebody lives there or that something goes there.
"""

from __future__ import annotations

import re

_CAP = r"[A-Z\u00c0-\u017d\u0218-\u021b][\w'\u2019.-]*"
_NUMBER = r"\d{1,4}(?:[/-]\d{1,4})?(?: ?[A-Za-z])?\b"
_OF = r"(?:(?:de|da|do|dos|das|del|della|di|du|des|la|las|le|los|van|von|der|den|het|ter|y|e|al) )*"

_ENGLISH = (
    r"Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Way|Court|Ct|Place|Pl|Square|Close|Crescent|Terrace|"
    r"Parkway|Highway|Circle|Mews|Row|Grove|Gardens|Walk|Rise|Quay|Parade|Esplanade|Alley|Trail|Loop"
)
_ENDINGS = (
    r"stra\u00dfe|strasse|str\.|weg|gasse|platz|allee|damm|ufer|straat|laan|plein|singel|gracht|kade|dijk|dreef|steeg|"
    r"gatan|gr\u00e4nd|v\u00e4gen|stigen|torget|gata|gaten|veien|vegen|vej|gade|str\u00e6de|katu|kuja|polku"
)
_BEFORE = (
    r"ul\.|ulica|ulice|al\.|aleja|os\.|pl\.|rua|avenida|av\.|avda\.?|travessa|pra\u00e7a|largo|estrada|rodovia|c\.|c/|"
    r"calle|carrera|cra?\.|diagonal|transversal|paseo|plaza|alameda|camino|via|viale|vicolo|corso|piazza|strada|str\.|"
    r"\u0219oseaua|calea|aleea|intrarea|bulevardul|bulevar|rruga|rue|chemin|route|impasse|quai|cours|all\u00e9e"
)
_BEHIND = (
    r"utca|\u00fat|t\u00e9r|k\u00f6z|t\u00e4nav|tee|maantee|puiestee|gatv\u0117|prospektas|iela|cesta|trg|n\u00e1m\u011bst\u00ed|"
    r"n\u00e1mestie|ulica|ulice|sokak|soka\u011f\u0131|caddesi|bulvar\u0131"
)
_STREET = re.compile(
    rf"\b\d{{1,5}}[A-Za-z]?,? (?:{_CAP} ){{1,4}}(?:{_ENGLISH})\b|"
    rf"\b\d{{1,5}} (?:[A-Z][\w'-]+ ){{2,3}}(?:Apt|Suite|Unit|Ste|Flat)\b|"
    rf"\b\d{{1,4}},? (?:rue|avenue|boulevard|chemin|place|impasse|quai|all\u00e9e|route) (?:[\w'\u2019-]+ ?){{1,5}}|"
    rf"\b{_CAP}(?:(?<=[a-z.])(?:{_ENDINGS})|-(?:Stra\u00dfe|Strasse|Weg|Gasse|Platz|Allee|Ring)),? {_NUMBER}|"
    rf"(?<![\w.])(?i:{_BEFORE}) {_OF}(?:{_CAP},? ?{_OF}){{1,5}}(?:[nN][\u00ba\u00b0r]?\.? ?|# ?)?{_NUMBER}|"
    rf"\b(?:{_CAP} ){{1,3}}(?:{_BEHIND})\.? {_NUMBER}"
)

_CUED = re.compile(
    rf"\b(?i:lives?|living|lived|resid(?:es|ing|ent)|stays?|staying|deliver(?:ed|y)?|ship(?:ped)?|parcel|letter|send|"
    rf"sent|post(?:ed)?|returned?|collect(?:ed)?|flat|house|home|apartment|property|premises|address|inspection|visit(?:ed)?|"
    rf"moved|parked|keys?)\b(?: (?!to |at |on |near |of |from |into )[a-z]+){{0,4}}"
    rf" (?:to|at|on|near|of|from|into|is)(?: the)? "
    rf"(?:(?P<first>{_CAP})(?: {_OF}{_CAP}){{0,4}},? (?!(?:19|20)\d\d\b){_NUMBER}|"
    rf"\d{{1,5}}[A-Za-z]? (?P<second>{_CAP})(?: {_CAP}){{1,3}})"
)
_NO_STREET = re.compile(
    r"(?:Room|Ward|Gate|Floor|Building|Platform|Terminal|Unit|Dock|Bay|Hall|Level|Line|Lot|Zone|Area|Team|Section|"
    r"Chapter|Version|Release|Phase|Stage|Step|Day|Week|Page|Part|Box|Rack|Shelf|Bin|Store|Site|Plant|Route|Exit|Track|"
    r"Jan\w*|Feb\w*|Mar(?:ch)?|Apr\w*|May|June?|July?|Aug\w*|Sep\w*|Oct\w*|Nov\w*|Dec\w*|Mon\w*day|Tues\w*|Wed\w*|Thurs\w*|"
    r"Fri\w*|Satur\w*|Sun\w*|EUR|USD|GBP|Windows|Python|Excel|Office)$"
)


def holds_street(text: str) -> bool:
    """Return whether the text holds the address of a house."""
    if _STREET.search(text):
        return True
    return any(not _NO_STREET.match(match["first"] or match["second"]) for match in _CUED.finditer(text))
