"""Keys and certificates that a deployment makes and lives by."""
