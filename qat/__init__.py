"""What networks are made of in training: quantisers, layers, requantisers, norms."""
