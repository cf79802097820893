"""Arrays in, arrays out: what layers and classifiers compute, and nothing of them."""
