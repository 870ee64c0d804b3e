"""The configuration file: YAML text in, a valid `Config` or the list of everything that is wrong with it out.

`tree` keeps the place of each value, `typed` turns values into the types of `stream.config`, `checks` says what
types cannot. Invariant: a `Config` that comes from here needs no further checking, and no message shows a secret.
"""

from stream.configfile.load import load, parse
from stream.configfile.problems import ConfigurationError, Problem

__all__ = ["ConfigurationError", "Problem", "load", "parse"]
