"""Figures for print: Figure 1 and the learning curves."""
