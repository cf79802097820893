"""Arrays in, arrays out: the numbers, with no estimator in sight."""
