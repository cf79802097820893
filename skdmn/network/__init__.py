"""Networks of layers that process images batch by batch."""
