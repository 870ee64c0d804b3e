"""How likely a weighted sum of squared normals is to be so large: the law of squared distances between means.

Q = Σ wᵢ Zᵢ² / (χ²_ν / ν), with independent standard normal Zᵢ, wᵢ >= 0 and, below it, the doubt about the scale of the
weights: ν degrees of freedom, as in Student's t and Hotelling's T². By the saddlepoint approximation of Kuonen
("Saddlepoint approximations for distributions of quadratic forms in normal variables", Biometrika 86, 1999) to
P(Σ wᵢ Zᵢ² - (q / ν) χ²_ν >= 0): its relative error stays small far out in the tail, where alarms are decided and where
a match of moments fails. Judge: scipy's F and χ² for equal weights, numerical inversion of the characteristic function
for others.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from stream.monitor.basis.columns import Floats

STEPS = 200
"""Most steps to the saddlepoint: each at least halves where it may lie, or is Newton's."""

NEAR = 1e-3
"""Within so many standard deviations of the middle the approximation is nearly 0/0, and its limit is taken."""


def tail(weights: Floats, value: float, freedom: float) -> float:
    """Probability of Q >= value; NaN for a value that is none, 1 where the weights are all zero.

    >>> from scipy import stats
    >>> round(tail(np.array([2.0, 2.0]), 12.0, 50.0), 4), round(float(stats.f.sf(12.0 / 4.0, 2, 50)), 4)
    (0.0598, 0.0588)
    """
    weights = weights[weights > 1e-12 * weights.max(initial=0.0)]
    if math.isnan(value) or not len(weights):
        return math.nan if math.isnan(value) else 1.0
    if value <= 1e-12 * float(weights.sum()):
        return 1.0
    scale = float(weights.max())
    law = _Difference(weights / scale, value / scale / freedom, freedom)
    mean, spread, skewness = law.moments
    away = -mean / spread
    if abs(away) < NEAR:
        return float(special.ndtr(-(away + skewness / 6.0)))
    point = law.saddlepoint(above=away > 0)
    w = math.copysign(math.sqrt(max(-2.0 * law.cumulant(point), 1e-300)), point)
    v = point * math.sqrt(law.slopes(point)[1])
    return float(special.ndtr(-(w + math.log(v / w) / w)))


class _Difference:
    """D = Σ wᵢ Zᵢ² - c χ²_ν, and the generating function of its cumulants -½ Σ ln(1 - 2 s wᵢ) - ½ ν ln(1 + 2 s c)."""

    def __init__(self, weights: Floats, less: float, freedom: float) -> None:
        self._weights, self._less, self._freedom = weights, less, freedom

    @property
    def moments(self) -> tuple[float, float, float]:
        """Mean, standard deviation and skewness."""
        w, c, nu = self._weights, self._less, self._freedom
        mean = float(w.sum()) - nu * c
        variance = 2.0 * (float((w**2).sum()) + nu * c**2)
        third = 8.0 * (float((w**3).sum()) - nu * c**3)
        return mean, math.sqrt(variance), third / variance**1.5

    def cumulant(self, s: float) -> float:
        """The function at s."""
        logs = float(np.log1p(-2.0 * s * self._weights).sum())
        return -0.5 * logs - 0.5 * self._freedom * math.log1p(2.0 * s * self._less)

    def slopes(self, s: float) -> tuple[float, float]:
        """Its first and second derivative."""
        terms = self._weights / (1.0 - 2.0 * s * self._weights)
        less = self._less / (1.0 + 2.0 * s * self._less)
        first = float(terms.sum()) - self._freedom * less
        return first, 2.0 * (float((terms**2).sum()) + self._freedom * less**2)

    def saddlepoint(self, *, above: bool) -> float:
        """Where the first derivative, which grows, is zero: Newton's method, kept inside a bracket that shrinks."""
        low, high = (0.0, 0.5 / float(self._weights.max())) if above else (-0.5 / self._less, 0.0)
        point = (low + high) / 2.0
        for _ in range(STEPS):
            first, second = self.slopes(point)
            if first > 0.0:
                high = point
            else:
                low = point
            step = point - first / second
            after = step if low < step < high else (low + high) / 2.0
            if abs(after - point) <= 1e-13 * abs(point):
                break
            point = after
        return point
