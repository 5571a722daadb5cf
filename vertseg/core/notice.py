"""The notice of intended use, part of every output for people."""

RESEARCH_USE_ONLY = "Research use only: not a medical device, not for diagnosis."
