"""The words the parts of GAVIP say to one another.

Owns the wire models, enums, scopes, errors, names and the ``avi.yaml`` schema. It is the leaf of the import
graph: it imports nothing of ours, no tornado, no jupyterhub, no docker, so that kernels, command line and services
share it.
"""

__version__ = "0.1.0"
