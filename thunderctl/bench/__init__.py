"""`thunderctl bench`: the endpoint under load. What is sent when, what became of it, beside what was predicted."""
