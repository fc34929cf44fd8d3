"""Labelled texts: sentences about people, each with the kind that it holds, and sentences that hold nothing of one.

Sentences of all corpora were written by one person, who knew the detector.
"""

import re
from collections.abc import Iterator

import numpy as np
from faker import Faker
from sensitive_columns import FIGURE, SECOND, TERMS, TUNING

SENTENCES = {
    "tuning": {
        "email": ["Please write to {email} about the invoice.", "Her address for mail is {email}, she said."],
        "phone": ["Call me back on {phone} tomorrow.", "Left a message at {phone}."],
        "name": ["Spoke to {name} about the delay.", "The patient {name} was seen today.", "Regards, {name}"],
        "card": ["Paid with card {card} at the desk."],
        "iban": ["Refund goes to {iban} as agreed."],
        "ip": ["Login from {ip} was blocked."],
        "birth_date": ["DOB: {date}, no allergies."],
        "address": ["Moved to {street} last month."],
        "health": ["History of {term}, stable."],
        "": [
            "The order 4500012345 was late again.",
            "Upgraded to version 10.2.3.4 without trouble.",
            "See section 3.2.1 of the manual.",
            "Delivery from San Diego to New York took 12 days.",
            "Total was 1,250.00 EUR for 30 units.",
            "Serial 0012-8833-22 was replaced.",
            "Meeting moved from 2023-04-05 to 2023-04-12.",
            "The Oxford Shirt in blue is out of stock.",
        ],
    },
    "second": {
        "email": [
            "Forwarded everything to {email} this morning",
            "contact: {email} (preferred)",
            "cc {email}; awaiting answer",
        ],
        "phone": [
            "Ring {phone} before delivery, gate is locked",
            "Caller's number {phone} went to voicemail",
            "Tel. {phone}, mornings only",
        ],
        "name": [
            "Complaint was escalated by {name} from accounts",
            "Met with {name} and agreed on terms",
            "Yours faithfully, {name}",
            "Ms. {name} asked for a copy of the contract",
        ],
        "card": ["customer read out {card} over the line", "charge on {card} reversed, see ledger"],
        "iban": ["transfer to {iban} by Friday please", "account {iban} was closed last year"],
        "ip": ["Several failed attempts came from {ip} overnight", "whitelist {ip} for the vendor"],
        "birth_date": ["born on {date}, registered here since spring", "Date of birth {date}; consent given"],
        "address": ["Deliver the parcel to {street} after six", "Lives at {street} with two cats"],
        "health": ["Suffers from {term} and takes tablets for it", "was off work because of {term} again"],
        "": [
            "Item 7781234567 arrived damaged and was sent back",
            "Firmware 4.18.0.22 fixes the reboot loop",
            "As clause 12.4.1.7 says, no refund",
            "The train from Saint Louis to Kansas City was cancelled",
            "Paid 3,480.50 for 18 chairs and 4 tables",
            "Part no. 55-1029-3348 does not fit",
            "Please call again after the holidays",
            "Rescheduled from 12/03/2024 to 15/03/2024, room 204",
            "The Victoria Armchair wobbles on tiles",
            "Reference 4539-2281-7710-9952-13 could not be found",
            "Great Britain won in the North Sea race",
            "Machine ran 10.5 hours at 240.5 degrees",
            "Ticket 2024-000-1187 is a duplicate of 2024-000-1102",
            "Order number is 88123490 and the colour is Navy Blue",
        ],
    },
}


SENTENCES["figure"] = {
    "email": ["Reply went to {email}, no bounce", "New login is {email} from today", "sent the form to {email} twice"],
    "phone": ["You can reach her on {phone} at weekends", "mobile {phone}, do not text", "dialled {phone}, engaged"],
    "name": [
        "The form was filled in by {name} at home",
        "Our agent {name} will visit",
        "{name} wants the money back",
        "Dr. {name} signed the letter",
    ],
    "card": ["declined: {card}, try another one", "stored {card} by mistake in notes"],
    "iban": ["salary is paid into {iban} from March", "wrong account, should be {iban}, sorry"],
    "ip": ["session opened at {ip} and closed at once", "traffic to {ip} is dropped by the rule"],
    "birth_date": ["DOB {date} checked against the card", "she was born {date} in the north"],
    "address": ["sends the letter to {street} instead", "the flat at {street} is empty"],
    "health": ["treated for {term} since autumn", "cannot lift because of {term}, light work only"],
    "": [
        "Box 4410098231 was opened in transit",
        "Runs since build 7.12.0.45 without a fault",
        "Paragraph 8.3.2.1 applies to returns",
        "Flight from Santa Fe to Salt Lake City was full",
        "Charged 2,199.00 for 6 units of each",
        "Model 77-2210-4419 is out of stock",
        "Closed for the summer break until Monday",
        "Moved the visit from 03.04.2024 to 17.04.2024",
        "The Hudson Desk has a loose leg",
        "Voucher 5500-1123-9087-2210-77 has expired",
        "South Wales and West Yorkshire get new depots",
        "It weighs 14.75 kg and is 120.5 cm long",
        "Case 2023-118-0042 merged into 2023-118-0040",
        "Customer number 77120934 prefers Forest Green",
    ],
}


SENTENCES["development"] = {
    "email": ["her inbox {email} bounced back", "Invoice copy requested by {email}."],
    "phone": ["Please phone {phone} once the parts are in.", "His cell is {phone}; try after lunch", "fax to {phone}"],
    "name": [
        "Signed for by {name} at reception",
        "We told {name} that the lease ends in May.",
        "{name} called twice about the leak",
        "Tenant {name} left the keys with us",
        "a meeting between {name} and the bank",
    ],
    "card": ["the number {card} was keyed in by hand", "Card on file: {card}."],
    "iban": ["Deposit goes back to {iban}.", "her bank gave {iban} as the account"],
    "ip": ["host {ip} did not answer the ping", "Our log shows {ip} at midnight."],
    "birth_date": ["Born {date} according to the passport", "date of birth is {date}, see file"],
    "address": [
        "Please ship to {street}, second floor",
        "He lives on {street} now",
        "Inspection of {street} on Monday",
    ],
    "health": ["on leave since March, {term}", "Diagnosed with {term} last year.", "she takes pills for {term}"],
    "": [
        "Pallet 7730019284 was left in the yard",
        "Patched to 9.4.1.27 over night",
        "Article 5.2.3.8 of the contract rules this out",
        "Ferry from Port Ellen to Long Beach is delayed",
        "We owe 12,840.00 for 15 doors and 2 gates",
        "Spare 41-7730-9921 has been ordered",
        "Inspection moved from 07.11.2023 to 21.11.2023",
        "Shipped on 2024-02-11 and received on 2024/02/19",
        "The Windsor Bench is wobbly",
        "Coupon 7712-4401-9038-1120-66 is void",
        "East Anglia and North Holland share a depot",
        "The crate is 240.5 by 120.25 by 80 cm",
        "Job 2022-771-0031 was split from 2022-771-0029",
        "Red Velvet and Dark Chocolate are sold out",
        "Grand Central Terminal closes at ten",
        "The Annual Report went to Human Resources",
    ],
}
SENTENCES["unseen"] = {
    "email": ["mail bounced for {email} again", "{email} is on the list twice"],
    "phone": ["try {phone}, ask for the office", "She left {phone} as her contact", "no answer at {phone}"],
    "name": [
        "{name} paid the deposit in cash",
        "the claim of {name} was turned down",
        "Copy sent to Ms {name} on Tuesday",
        "I talked with {name} for an hour",
    ],
    "card": ["refund to {card} failed", "typed {card} into the chat"],
    "iban": ["Wages go to {iban}", "{iban} is the new account for rent"],
    "ip": ["blocked {ip} after nine tries", "requests come from {ip} only"],
    "birth_date": ["born {date}, single", "the date of birth, {date}, was misread"],
    "address": ["Keys are kept at {street}", "The van was parked near {street}", "send the refund to {street}"],
    "health": ["absent because of {term}", "her file mentions {term}", "{term} since childhood"],
    "": [
        "Crate 3390017745 fell off the lift",
        "Rolled back to 2.31.0.17 this morning",
        "Rule 4.4.1.2 says otherwise",
        "Bus from Fort Worth to Palm Springs runs daily",
        "Paid 4,320.75 for 9 windows",
        "Hinge 60-3381-7742 is too short",
        "The date changed from 02/09/2023 to 16/09/2023",
        "The Carson Rug sheds a lot",
        "Token 8841-2203-7719-0042-91 is used up",
        "West Virginia and Upper Austria were added",
        "Tank holds 1250.5 litres at 3.75 bar",
        "Folder 2021-442-0017 replaces 2021-442-0011",
        "Green Tea and White Rice are on the menu",
        "The Board met in the Blue Room",
    ],
}
"""The last two were written together, before what ``development`` showed was mended; ``unseen`` was read once, after.
But whoever mended had written both, and named illnesses of both: of ``unseen``, health says nothing."""

LOCALES = {
    "tuning": TUNING,
    "second": SECOND,
    "figure": FIGURE,
    "development": ("nl_NL", "pl_PL", "pt_PT", "de_CH", "fr_CH", "en_AU", "en_IE", "es_CO", "es_CL", "lv_LV"),
    "unseen": ("nl_BE", "fr_BE", "no_NO", "en_GB", "de_LI", "it_CH", "es_MX", "ga_IE", "en_NG", "sq_AL"),
}


def sentences(name: str, seed: int, n: int = 600) -> Iterator[tuple[str, str]]:
    """Yield texts, each with the kind that it holds, or none; four in ten hold none."""
    fakes = [Faker(locale) for locale in LOCALES[name]]
    for place, fake in enumerate(fakes):
        fake.seed_instance(seed * 77 + place)
    rng = np.random.default_rng([seed, 99])
    forms = SENTENCES[name]
    kinds = [kind for kind in forms if kind]
    for _ in range(n):
        fake = fakes[rng.integers(len(fakes))]
        kind = "" if rng.random() < 0.4 else str(rng.choice(kinds))
        yield (
            str(rng.choice(forms[kind])).format(
                email=fake.email(),
                phone=fake.phone_number(),
                name=f"{fake.first_name()} {fake.last_name()}",
                card=fake.credit_card_number(),
                iban=fake.iban(),
                ip=fake.ipv4_public(),
                date=fake.date_of_birth().isoformat(),
                street=re.split(r"\n|,", fake.street_address())[0],
                term=rng.choice(TERMS[name]),
            ),
            kind,
        )
