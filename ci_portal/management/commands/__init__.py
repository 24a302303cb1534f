"""`manage.py config`, `make_key` and `dev`."""
