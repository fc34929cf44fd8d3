"""k-anonymity, l-diversity and t-closeness of a table: measured, and enforced by recoding with the least loss.

Nothing here charges a ledger or asks a budget file: these are parts, which measure one table several times, released
tables among them.  What reads real rows by them writes that down first, once: ``policy.protection.protect`` and
``compliance.assess``.  Whoever calls them with real rows hands on exact numbers of rows, outside of any epsilon, and
writes that down as ``privacy.budget_file.opened(None).note_uncovered("what was measured")``.
"""
