"""What a model is given and answers, counted and compared with a reference: distances, flaws, new names."""
