"""Vast.ai: containers on strangers' machines. `client` alone knows its SDK; the rest speaks our words."""
