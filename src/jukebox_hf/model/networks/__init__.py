"""What has weights: the prior, the VQ-VAE and their layers."""
