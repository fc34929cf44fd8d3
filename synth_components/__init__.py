"""Synthetic data: train a generator, sample from it, judge the result."""
