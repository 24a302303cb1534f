"""The history, and what runs printed."""
