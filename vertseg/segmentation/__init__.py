"""From a CT to a label map: grid, network, decoding into pieces and their order."""
