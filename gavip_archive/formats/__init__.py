"""The output formats: each writes the pages of a result to a file, in bounded memory where the format allows."""
