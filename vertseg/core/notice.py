"""What every output for people states: intended use, authors, licence."""

RESEARCH_USE_ONLY = "Research use only: not a medical device, not for diagnosis."
"""The notice of intended use."""

AUTHORS = "The vertseg authors"

LICENCE = "MIT"
"""SPDX identifier of the licence of program and models."""
