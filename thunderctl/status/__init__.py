"""The deployment as documents that every face shows."""
