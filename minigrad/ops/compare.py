"""Comparison and logic: booleans, without a derivative."""

from minigrad.autograd.pointwise import elementwise


@elementwise
def eq(xp, a, b):
    """a = b, elementwise."""
    return xp.equal(a, b)


@elementwise
def ne(xp, a, b):
    """a ≠ b, elementwise."""
    return xp.not_equal(a, b)


@elementwise
def lt(xp, a, b):
    """a < b, elementwise."""
    return xp.less(a, b)


@elementwise
def le(xp, a, b):
    """a ≤ b, elementwise."""
    return xp.less_equal(a, b)


@elementwise
def gt(xp, a, b):
    """a > b, elementwise."""
    return xp.greater(a, b)


@elementwise
def ge(xp, a, b):
    """a ≥ b, elementwise."""
    return xp.greater_equal(a, b)


@elementwise
def logical_and(xp, a, b):
    """Both true (not zero)."""
    return xp.logical_and(a, b)


@elementwise
def logical_or(xp, a, b):
    """At least one true (not zero)."""
    return xp.logical_or(a, b)


@elementwise
def logical_not(xp, a):
    """Not true (zero)."""
    return xp.logical_not(a)


@elementwise
def isnan(xp, a):
    """Whether it is not a number."""
    return xp.isnan(a)


@elementwise
def isinf(xp, a):
    """Whether it is +∞ or -∞."""
    return xp.isinf(a)


@elementwise
def isfinite(xp, a):
    """Whether it is neither infinite nor NaN."""
    return xp.isfinite(a)
