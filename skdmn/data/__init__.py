"""Data read in pieces: images, rows and files, and transfers to a device."""
