"""From published data packages to one DuckDB file: fetching, reading, cross-matching, describing."""
