"""This patient on this drug: kinetics, exposure, regimen."""
