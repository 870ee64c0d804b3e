"""What all of the monitor stands on: columns of events, exact sums, hashes of ids, names, intervals."""
