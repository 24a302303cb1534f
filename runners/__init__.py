"""Runs: launching, following and settling builds."""
