"""Networks of layers that images run through batch by batch."""
