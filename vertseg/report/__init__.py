"""The page of predicted scans, made from their results alone; works without a network."""
