"""A stand-in for the Qt side of 3D Slicer: see README.md beside this folder."""
