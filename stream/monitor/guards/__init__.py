"""Change detection with a stated budget of false alarms."""
