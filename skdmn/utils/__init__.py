"""Array libraries and devices, threads, labels, checks, saved estimators."""
