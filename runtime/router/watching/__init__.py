"""What is kept of requests: the window of traffic, the log, the account of keys, traces."""
