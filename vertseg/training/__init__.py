"""Training of a network on cached scans: settings, batches, losses, checkpoints, the loop."""
