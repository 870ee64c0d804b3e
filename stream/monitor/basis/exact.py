"""Sums of floats that do not depend on order: a float becomes integer limbs, and integers add exactly.

Invariant: the sum of the limbs of values is the limbs' sum, in any order and grouping, and subtracts again exactly.
A number is sum(limb[j] * 2**(LIMB_BITS * j)) * 2**exponent; limbs are signed and need not be normalised. The idea is
Kulisch's long accumulator (U. Kulisch, "Computer Arithmetic and Validity", ch. 8) in 32-bit digits held in int64.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stream.monitor.basis.columns import Floats, Ints

Booleans: TypeAlias = npt.NDArray[np.bool_]

LIMB_BITS = 32
"""Bits of one digit. A limb holds up to 2**31 summed digits before int64 overflows."""

LIMBS = 9
"""Digits of a split float."""

EXPONENT = -128
"""The last bit of a split float is worth 2**EXPONENT; what is smaller is rounded to it."""

LIMIT = 2.0**148
"""`split` takes values of smaller magnitude: above the weighted square of a difference of two numbers of 1e18."""

_ONE = np.int64(1 << 20)
_MASK = np.int64((1 << LIMB_BITS) - 1)
_SHIFT = np.int64(LIMB_BITS)


def split(values: Floats) -> Ints:
    """Each value as limbs: shape (..., LIMBS) for values of shape (...).

    Exact for values that are multiples of 2**EXPONENT (every double of magnitude at least 2**-75 is), else rounded
    to the nearest. Raises ValueError for a value that is not finite or not below LIMIT.

    >>> to_float(split(np.array([1e18, 1.0, -1e18])).sum(axis=0))
    array(1.)
    """
    values = np.asarray(values, dtype=np.float64)
    flat = values.reshape(-1)
    limbs = np.zeros((len(flat), LIMBS), dtype=np.int64)
    rows = np.arange(len(flat))
    first, *digits = digits_of(flat)
    for place, digit in enumerate(digits):
        limbs[rows, first + place] = digit
    return limbs.reshape(*values.shape, LIMBS)


def digits_of(values: Floats) -> tuple[Ints, Ints, Ints, Ints]:
    """The limbs of n values that `split` would fill: the place of the first, and three digits from there up.

    Three digits hold the 53 bits of a double wherever they start. Errors as `split`.
    """
    if len(values) and not np.abs(values).max() < LIMIT:
        raise ValueError(f"a value of magnitude {LIMIT:.0e} or more, or not a number, has no exact sum")
    mantissa, exponent = np.frexp(values)
    mantissa *= 2.0**53
    digits = mantissa.astype(np.int64)
    position = exponent.astype(np.int64)
    position -= 53 + EXPONENT
    if len(values) and position.min() < 0:
        drop = np.clip(-position, 0, 63)
        digits = np.where(drop > 0, ((digits >> np.maximum(drop - 1, 0)) + 1) >> 1, digits)
        np.maximum(position, 0, out=position)
    shift = position & 31
    position >>= 5
    low = (digits & _MASK) << shift
    digits >>= _SHIFT
    digits <<= shift
    middle = low >> _SHIFT
    middle += digits & _MASK
    low &= _MASK
    digits >>= _SHIFT
    return position, low, middle, digits


def multiply(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """The exact products of integers, 0 <= left < 2**41 and 0 <= right < 2**41, as (low, high) limbs.

    Shorter where all of `left` is 2**20, the weight of an outcome that has none.

    >>> low, high = multiply(np.array([2**40]), np.array([2**40 + 1]))
    >>> int(low[0]) + (int(high[0]) << 32) == 2**40 * (2**40 + 1)
    True
    """
    if (left == _ONE).all():
        return (right & 0xFFF) << 20, right >> 12
    low = right & 0xFFFFF
    low *= left
    high = right >> 20
    high *= left
    low += (high & 0xFFF) << 20
    high >>= 12
    high += low >> _SHIFT
    low &= _MASK
    return low, high


def two_product(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """left * right as an unevaluated exact sum of two doubles (T. J. Dekker 1971), barring under- and overflow.

    >>> high, low = two_product(np.array([1e16 + 2]), np.array([1e16 + 2]))
    >>> int(high[0]) + int(low[0]) == (10**16 + 2) ** 2
    True
    """
    product = left * right
    left_high = left * 134217729.0
    left_high -= left_high - left
    left_low = left - left_high
    right_high = right * 134217729.0
    right_high -= right_high - right
    right_low = right - right_high
    rest = left_high * right_high - product
    rest += left_high * right_low
    rest += left_low * right_high
    rest += left_low * right_low
    return product, rest


def to_float(limbs: Ints, exponent: int = EXPONENT) -> Floats:
    """The numbers that limbs (..., any count) stand for, within two units in the last place of a double."""
    digits = _normalise(np.array(limbs, dtype=np.int64))
    negative = digits[..., -1] < 0
    if negative.any():
        digits = _normalise(np.where(negative[..., None], -digits, digits))
    total = np.zeros(digits.shape[:-1])
    for j in range(digits.shape[-1]):
        total += np.ldexp(digits[..., j].astype(np.float64), exponent + LIMB_BITS * j)
    return np.where(negative, -total, total)


def to_int(limbs: Ints) -> int:
    """The exact number that one row of limbs stands for, in units of its last bit.

    >>> to_int(split(np.array(-2.5))) == -5 * 2**127
    True
    """
    return sum(int(limb) << (LIMB_BITS * j) for j, limb in enumerate(limbs.tolist()))


def _normalise(digits: Ints) -> Ints:
    """Carries in place, so that all limbs but the last, which keeps the sign, lie in [0, 2**LIMB_BITS)."""
    for j in range(digits.shape[-1] - 1):
        digits[..., j + 1] += digits[..., j] >> _SHIFT
        digits[..., j] &= _MASK
    return digits
