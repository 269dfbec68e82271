"""Magics and display for IPython and Jupyter."""
