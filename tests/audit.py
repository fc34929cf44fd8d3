"""Lower bounds on privacy loss from how often releases with a unit and without it are told apart, and pure claims."""

from itertools import product

import numpy as np
from scipy import stats


def upper_rate(errors, total, confidence):
    """Return the upper Clopper-Pearson bound of an error rate."""
    return 1.0 if errors == total else float(stats.beta.ppf(confidence, errors + 1, total - errors))


def mu_at_least(said_with, said_without, *, confidence):
    """Return a lower bound on mu: the distance of two unit normals that are as hard to tell apart.

    Args:
        said_with: Whether each release of the data with the unit was taken for one.
        said_without: The same of releases of the data without it.
        confidence: Of the bound of each error rate.  A claim that is tight fails its audit with twice one less this.
    """
    missed = upper_rate(int((~np.asarray(said_with)).sum()), len(said_with), confidence)
    false = upper_rate(int(np.asarray(said_without).sum()), len(said_without), confidence)
    return float(stats.norm.ppf(1 - missed) - stats.norm.ppf(false))


def mu_of_pure(epsilons, false):
    """Return what mechanisms of these epsilons, composed, claim as a mu at a rate of false alarms.

    None tells more than a randomised response of its epsilon (Kairouz, Oh & Viswanath 2015, arXiv:1311.0776), and a
    count with discrete Laplace noise, moved by 1, is one.  The claim is the trade-off curve of these: one mu for all
    rates would be wider.
    """
    losses = np.array(list(product((-1, 1), repeat=len(epsilons)))) * np.asarray(epsilons)
    order = np.argsort(-losses.sum(axis=1))
    true, untrue = ((1 / (1 + np.exp(-sign * losses))).prod(axis=1)[order].cumsum() for sign in (1, -1))
    power = np.interp(false, [0.0, *untrue], [0.0, *true])
    return float(stats.norm.ppf(power) - stats.norm.ppf(false))
