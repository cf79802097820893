"""Reference implementations, for any library of the array API standard."""
