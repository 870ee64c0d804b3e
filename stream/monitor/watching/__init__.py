"""The rules of one model at work: what they see of a chunk, and what explains it when one fires."""
