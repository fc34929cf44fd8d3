"""Choosing: a generator for a table, its options, and what to change after a report that missed its threshold.

Whatever reads real rows here does so without differential privacy, and is refused under a finite budget.
"""
