"""Mergeable sums over images, and the filters that are computed from them."""
