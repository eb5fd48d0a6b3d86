"""Pixels in, polygons out: scenes, the grid, alignment, products and the simulator.

This package knows no events, no cluster and no models.
"""
