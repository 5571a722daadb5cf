"""From a CT to a label map: grid, network, and decoding into numbered vertebrae."""
