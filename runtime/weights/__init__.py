"""How an instance gets a model's files: from any HTTP server, resumed, compared, once for all instances of a host."""
