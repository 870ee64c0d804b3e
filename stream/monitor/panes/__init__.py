"""Sums by pane and window of event time, how a chunk of events changes them, and the numbers read from them."""
