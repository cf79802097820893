"""The estimators that chain: images in, images (or rows) out."""
