"""Differential privacy: the ledger that every read of raw rows is charged to."""
