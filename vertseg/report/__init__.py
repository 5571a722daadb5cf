"""The page of predicted scans, made from their results alone; it works offline."""
