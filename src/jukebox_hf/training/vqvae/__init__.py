"""Training a VQ-VAE: its windows, its losses' scale, its codebook."""
