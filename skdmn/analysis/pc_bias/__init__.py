"""Principal component bias: learning along the directions of the data, its order."""
