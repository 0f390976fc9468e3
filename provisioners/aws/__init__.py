"""AWS: GPU instances of EC2, on demand and spot. `client` alone knows its SDK; the rest speaks our words."""
