"""Registered repositories and their credentials."""
