"""Pipeline mode: one job of one AVI, executed and reported.

``python -m avi.runner`` reads the environment of :mod:`gavip_api.environment`, runs the pipeline in the output folder
and leaves ``result.json`` there as its last act. It exits with 0 when the pipeline succeeded and 1 otherwise.
"""
