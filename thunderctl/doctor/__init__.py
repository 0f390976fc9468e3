"""What `thunderctl doctor` looks at: this host, the store, the deployments, and the providers."""
