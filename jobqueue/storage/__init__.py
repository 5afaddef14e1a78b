"""Tables of the job queue and how they migrate; knows no rules of jobs."""
