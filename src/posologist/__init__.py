"""posologist: the right drug, at the right dose, for this patient, with the reasons."""
