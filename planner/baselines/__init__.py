"""What others would do with the same money: serving systems by their rules, each at its own best configuration."""
