"""Ray and the command line."""
