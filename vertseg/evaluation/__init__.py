"""Predictions against references: measures, statistics, tables."""
