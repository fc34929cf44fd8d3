"""Encryption at rest of models and tables: sealed files, and the keys that open them (extra ``encryption``)."""
