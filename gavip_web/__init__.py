"""Shared tornado base of the platform's services; knows nothing of jobs or catalogues.

Owns hub authentication, problem+json errors, OpenAPI, server-sent events, metrics, logging and
database set-up. A service subclasses :class:`gavip_web.application.ServiceApp`, declares its routes
with :mod:`gavip_web.openapi` and derives its handlers from :mod:`gavip_web.handlers`.
"""
