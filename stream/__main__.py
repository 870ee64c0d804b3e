"""`python -m stream` is the console script `stream`."""

from stream.cli import main

main()
