"""Vertebrae: labels, order, colours, centres, and label maps."""
