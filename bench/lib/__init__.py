"""What `bench/run` and `bench/counts` are made of: one job per file, nothing but Python's own library."""
