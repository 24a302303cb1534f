"""Django's MySQL backend with a pool of connections (DATABASES' ENGINE)."""
