"""The built-in sample: painted scenes with image-level labels, ground truth and saliency."""
