"""Labelled scans and the experiment on them: configuration, sources, sample sheet, audit, folds."""
