"""How much of the fleet is wanted now: by the clock, by prices and by the rate of requests. What is not, rests."""
