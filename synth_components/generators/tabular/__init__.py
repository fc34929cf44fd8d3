"""Generators of one table."""
