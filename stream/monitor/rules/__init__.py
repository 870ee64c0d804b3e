"""What a rule can watch, when it fires and ends, what its alert says, and what silences hold back."""
