"""What is known of one model: events in, alerts and snapshots out, and nothing of brokers, stores or clocks.

`model` is the whole. It stands on `watching`, that on `panes`, those on `guards`, `estimates` and `joining`, and these
on `features`, `metrics`, `rules` and `basis`, each on those after it. Imports point that way alone: a check sees to it.
"""
