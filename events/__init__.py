"""Checks of repositories: their commit, image tag and outcome."""
