"""Proof: worked cases run against their outside values."""
