"""Files in and out: scans, label maps, segmentations, meshes and landmarks."""
