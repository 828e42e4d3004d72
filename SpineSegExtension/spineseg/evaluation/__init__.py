"""Metrics, and one script a table of results."""
