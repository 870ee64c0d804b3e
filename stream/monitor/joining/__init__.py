"""Which label belongs to which prediction, and which of them was there before."""
