"""The execution plane: the one way in which GAVIP runs code that users or AVIs bring.

Owns launch specs (pure data), the layout of the state on disk, the plane's interface and its
back-ends, and the hub's spawners.
"""
