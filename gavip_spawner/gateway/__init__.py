"""The gateway: the one program that containers of user code can talk to.

A reverse proxy for the platform's own parts, and a forward proxy for the hosts that an AVI asked for and an
operator allowed. Decisions are in :mod:`.policy`; only :mod:`.app` constructs.
"""
