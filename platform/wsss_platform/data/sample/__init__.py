"""The built-in sample: painted scenes with image-level labels, pixel truth and saliency."""
