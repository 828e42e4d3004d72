"""Torch modules only, one architecture a file; imported inside functions, never at file scope."""
