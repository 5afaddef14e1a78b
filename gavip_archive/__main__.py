"""Command line of the archive: ``python -m gavip_archive build|serve|export-csv``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="python -m gavip_archive")
