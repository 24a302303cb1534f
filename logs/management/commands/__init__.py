"""`manage.py prune`."""
