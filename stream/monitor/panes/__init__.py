"""Sums by pane and window of event time, and how a chunk of events changes them tick by tick."""
