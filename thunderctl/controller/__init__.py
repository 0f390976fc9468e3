"""The controller: a process for each deployment that observes, decides and acts, once a tick (`run controller`)."""
