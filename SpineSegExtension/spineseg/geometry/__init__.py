"""Planes, curves and surfaces."""
