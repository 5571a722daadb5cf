"""Training of one network on cached scans: settings, batches, losses, checkpoints, the loop."""
