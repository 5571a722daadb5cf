"""CT scans on disk, in every format that is read, as arrays in canonical axes."""
