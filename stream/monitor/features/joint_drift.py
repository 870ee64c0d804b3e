"""How far the joint distribution of all features is from the reference's: changes that no single feature shows.

- `mmd_distance`: maximum mean discrepancy, the distance of the mean embeddings (Gretton et al., "A kernel two-sample
  test", JMLR 13, 2012, eq. 3: unbiased before the root; below zero counts as 0). 0 to about 1.4.
- `mmd`: p-value of the same difference δ of means. Plainly squared, δ is ruled by the few directions in which events
  vary most, and a change of the relation between features hides in the others. So each principal direction of the
  reference, of variance λᵢ, is divided by λᵢ + γ: a spectrally regularised MMD (Hagrass, Sriperumbudur and Li,
  "Spectral regularized kernel two-sample tests", Annals of Statistics 52, 2024). Without change and with N and n
  independent events, Σ δᵢ² / (λᵢ + γ) / (1/N + 1/n) is nearly Σ λᵢ / (λᵢ + γ) Zᵢ², whose tail `quadratic` knows. The
  λᵢ come from N events: γ and the doubt about their scale shrink as N grows, and they are drawn to their mean as Chen,
  Wiesel, Eldar and Hero advise ("Shrinkage algorithms for MMSE covariance estimation", IEEE Trans. Signal Process. 58,
  2010, eq. 23), or small ones would promise too much.

Judge: the exact MMD of the same points by scipy; false alarms on data without change. Invariant: a function of integer
sums, one window at a time, so the same whatever else is asked.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from stream.events import DriftScores
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.quadratic import tail
from stream.monitor.features.embedding import FREQUENCIES, SUMS, UNIT, Embedding
from stream.monitor.features.reference import Joint

LEAST = 1000
"""Reference events below which the directions of SUMS sums are not known well enough."""

STIFF = 1024
"""γ is the mean of the λᵢ times STIFF / N."""

DOUBT = 5
"""The scale of the λᵢ is known as that of N / DOUBT normals would be: values are bounded, but may be rare and skewed.
On data without change and references of 1,000 (normal, eight flags of 3 %, categories down to 1 %, related features)
there were, of p-values below 0.1, 0.01 and 0.001, 0.7 to 1.1, 0.3 to 1.5 and up to 2.5 times as many as promised;
without doubt up to 1.3, 2.1 and 5 times."""


def measured(embedding: Embedding, cells: Ints) -> Joint:
    """What a reference keeps of its events (n, features)."""
    if not len(cells):
        return Joint(0, (0,) * SUMS, b"")
    sums = embedding.sums(cells, np.zeros(1, np.int64))[0]
    products = embedding.products(cells)[np.tril_indices(SUMS)]
    return Joint(len(cells), tuple(sums[1:].tolist()), products.astype("<i8").tobytes())


class JointDrift:
    """The reference's mean embedding, to compare windows with."""

    def __init__(self, joint: Joint) -> None:
        self._rows = joint.rows
        self._joint = joint
        self._mean = np.array(joint.sums, np.float64) * (UNIT / max(joint.rows, 1))

    @property
    def enough(self) -> bool:
        """Whether the reference is large enough to compare anything with it."""
        return self._rows >= LEAST

    def scores(self, sums: Ints) -> DriftScores:
        """What is on the wire about a window's sums."""
        found = self.p_value(sums), self.distance(sums)
        p_value, distance = (None if math.isnan(value) else value for value in found)
        return DriftScores(mmd=p_value, mmd_distance=distance)

    def distance(self, sums: Ints) -> float:
        """The unbiased estimate of the distance; NaN without two events or a large enough reference."""
        n, m = int(sums[0]), self._rows
        if n < 2 or not self.enough:
            return math.nan
        mine, ours = self._window_mean(sums), self._mean
        # Every event is at distance 1 from the origin: so much of the square of a mean is of events with themselves.
        within = [
            (count * float((mean**2).sum()) / FREQUENCIES - 1.0) / (count - 1.0)
            for count, mean in ((n, mine), (m, ours))
        ]
        return math.sqrt(max(sum(within) - 2.0 * float((mine * ours).sum()) / FREQUENCIES, 0.0))

    def p_value(self, sums: Ints) -> float:
        """Probability of a difference as large when nothing has changed; NaN as for `distance`."""
        n = int(sums[0])
        if n < 2 or not self.enough:
            return math.nan
        variances, directions = self._spectrum
        # Row by row, not by a matrix product: those may round differently in other company.
        along = (directions * (self._window_mean(sums) - self._mean)).sum(axis=1)
        regular = variances + variances.mean() * (STIFF / self._rows)
        if not regular.any():
            return 1.0 if not along.any() else 0.0
        statistic = float((along**2 / regular).sum()) / (1.0 / n + 1.0 / self._rows)
        return tail(variances / regular, statistic, self._rows / DOUBT)

    def _window_mean(self, sums: Ints) -> Floats:
        mean: Floats = np.multiply(sums[1:], UNIT / int(sums[0]), dtype=np.float64)
        return mean

    @cached_property
    def _spectrum(self) -> tuple[Floats, Floats]:
        """Variances (SUMS) along the reference's principal directions, shrunk, and the directions as rows."""
        products = np.zeros((SUMS, SUMS))
        products[np.tril_indices(SUMS)] = np.frombuffer(self._joint.products, "<i8") * (UNIT * UNIT)
        covariance = (products - self._rows * np.outer(self._mean, self._mean)) / (self._rows - 1.0)
        found, directions = np.linalg.eigh(covariance, UPLO="L")
        variances = np.maximum(found, 0.0).astype(np.float64)
        return shrunk(variances, self._rows), np.ascontiguousarray(directions.T)


def shrunk(variances: Floats, rows: int) -> Floats:
    """Eigenvalues of a covariance of `rows` events, drawn to their mean by the oracle approximating shrinkage."""
    p, trace, squares = len(variances), float(variances.sum()), float((variances**2).sum())
    apart = squares - trace * trace / p
    if apart <= 0.0:
        return variances
    share = min((squares + trace * trace) / ((rows + 1.0) * apart), 1.0)
    return (1.0 - share) * variances + share * trace / p
