"""The command line and client library of GAVIP."""
