"""The portal: catalogue, Git repositories, instances, jobs on behalf of people, files, pages and the public API.

Inside: handlers → services → storage and Git; only :mod:`gavip_portal.app` constructs. Owner and AVI of a request come
from the caller's token, never from the request.
"""
