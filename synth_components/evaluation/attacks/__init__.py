"""Attacks on synthetic rows: each tries what an adversary would, on rows that were trained on and rows that were not.

An attack that fails proves nothing about the next one.  One that succeeds shows a leak: it does so on training rows
(*attack*) and not on holdout rows (*control*), which only what is true of everybody gives away.
"""
