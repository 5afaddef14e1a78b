"""Rules of the job queue; they know neither HTTP nor how processes run."""
