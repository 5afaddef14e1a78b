"""Runs translated queries in DuckDB under hard limits and hands out their rows page by page."""
