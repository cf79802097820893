"""Arrays in pieces: images, rows, files, and their way to a device."""
