"""From a user's CT to label map, centroids, measures, preview and report; see docs/predict.md."""
