"""The steps that every platform runs."""
