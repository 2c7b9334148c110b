"""CDS Hooks 2.0: a request of an electronic record -> cards. Pure but for `routes.py`, which speaks HTTP."""
