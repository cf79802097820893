"""Helpers: array namespaces and devices, threads, labels, checks, persistence."""
