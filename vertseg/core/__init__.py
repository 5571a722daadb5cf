"""Errors, files, tables, logs, processes and GPUs: plumbing without knowledge of vertebrae."""
