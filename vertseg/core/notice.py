"""What every output for people says about its use."""

RESEARCH_USE_ONLY = "Research use only: not a medical device, not for diagnosis."
