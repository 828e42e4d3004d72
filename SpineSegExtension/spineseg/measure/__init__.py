"""Measurements on label maps and landmarks; each says its unit and when it can't be made."""
