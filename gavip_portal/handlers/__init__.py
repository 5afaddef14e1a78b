"""HTTP of the portal: who asks, what they send, what they get. What is done is in :mod:`gavip_portal.services`."""
