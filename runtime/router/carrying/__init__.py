"""A request's way: its prefill leg, its decode leg, and what is tried when one fails."""
