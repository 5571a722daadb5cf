"""From a user's CT to label map, centroids, measures, preview and warnings (docs/predict.md)."""
