"""The definition of every operation, for any library of the array API standard."""
