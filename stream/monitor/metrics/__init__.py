"""How good the answers were: what an outcome adds to a tally, and every metric that is read from tallies."""
