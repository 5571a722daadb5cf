"""CT scans on disk in all supported formats, read as arrays in canonical axes."""
