"""`manage.py watch` and its kin."""
