"""Composition root: wires hub, services, spawner and archive into one platform.

Everything that knows of all parts lives here; nobody imports it.
"""
