"""Learning in deep linear networks: exact time courses, weights, rates, isometry."""
