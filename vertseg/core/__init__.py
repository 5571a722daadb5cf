"""Plumbing that knows nothing of vertebrae: errors, files, tables, logs, processes, GPUs."""
