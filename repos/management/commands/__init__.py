"""`manage.py` commands about repositories."""
