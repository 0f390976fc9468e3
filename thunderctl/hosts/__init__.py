"""What a machine of a plan is given: code, environment, weights, engines; and a shell on it for people."""
