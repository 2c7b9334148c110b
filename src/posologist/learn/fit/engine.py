"""Fitting what is served: parts cross-fitted over whole patients, blended on the margin, calibrated, with intervals."""
