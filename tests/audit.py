"""Lower bounds on privacy loss from how often releases with a unit and without it are told apart."""

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
