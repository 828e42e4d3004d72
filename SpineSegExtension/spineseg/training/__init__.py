"""Training: data that is drawn as it is needed, losses, and one loop for CPU, GPU and many GPUs."""
