"""The router's side of its connections to engines: HTTP/1.1, connections that are kept, legs."""
