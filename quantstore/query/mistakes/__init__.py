"""What is wrong with a query, told in its own words, with the place and the way out."""
