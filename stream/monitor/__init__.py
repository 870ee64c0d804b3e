"""What is known of one model: events in, alerts and snapshots out, and nothing of brokers, stores or clocks.

`model` is the whole; it lets events change what is `known` and has the rules look at it, in `watching`. Both stand on
`panes`, those on `guards`, `estimates` and `joining`, and these on `features`, `metrics`, `rules` and `basis`, each on
those after it. Imports point that way alone: a check sees to it.
"""
