"""The systems of the AASCE 2019 challenge, one file each; `system` is what they share."""
