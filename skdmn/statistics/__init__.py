"""Mergeable sums over images, and filters computed from them."""
