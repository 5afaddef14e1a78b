"""HTTP of the job queue: parse, call a service, answer."""
