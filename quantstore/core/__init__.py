"""The vocabulary of the store: values and small functions on the standard library only."""
