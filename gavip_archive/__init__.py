"""The embedded TAP 1.1 archive: real stars in one DuckDB file behind the IVOA protocols.

Owns the build of that file from published data packages (``data``), the translation of ADQL (``adql``), the
execution of queries under hard limits (``engine``), the output formats (``formats``), durable asynchronous jobs
(``uws``) and the HTTP face (``web``). Imports only :mod:`gavip_api` of ours.
"""
