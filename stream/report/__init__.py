"""A replay as one page: what happened, what the rules made of it, and how right they were where the truth is known.

`history` collects while the events run, `truth` reads the intervals that are known to be bad, `judge` compares alerts
with them, `charts` draws, `page` puts it together. Invariant: the page is a function of the configuration, the events
and the truth alone, needs nothing from anywhere, and shows text from events as text.
"""
