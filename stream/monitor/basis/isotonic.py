"""Isotonic regression of shares: the calibration of scores.

scipy has one, but importing scipy.optimize takes half a second, in the middle of the stream, and to it a share is a
rounded float. Counts pool exactly.
"""

from __future__ import annotations

import numpy as np

from stream.monitor.basis.columns import Floats, Ints


def isotonic(hits: Ints, trials: Ints) -> Floats:
    """The never falling shares nearest to `hits / trials` in squares weighted by trials, which are positive.

    Pools adjacent violators (Ayer et al., "An empirical distribution function for sampling with incomplete
    information", Annals of Mathematical Statistics 26, 1955); linear in the number of shares.

    >>> isotonic(np.array([0, 3, 1, 4]), np.array([2, 4, 4, 4]))
    array([0. , 0.5, 0.5, 1. ])
    """
    pooled_hits: list[int] = []
    pooled_trials: list[int] = []
    sizes: list[int] = []
    for place in zip(hits.tolist(), trials.tolist(), strict=True):
        (hit, trial), size = place, 1
        while sizes and pooled_hits[-1] * trial >= hit * pooled_trials[-1]:
            hit += pooled_hits.pop()
            trial += pooled_trials.pop()
            size += sizes.pop()
        pooled_hits.append(hit)
        pooled_trials.append(trial)
        sizes.append(size)
    return np.repeat(np.array(pooled_hits, np.float64) / np.array(pooled_trials, np.float64), sizes)
