"""Vertebrae: their labels, order, colours, centres, and what a label map says of them."""
