"""What a deployment spent: cut into parts by lease, plan and hour, and added up as asked (`leases --report`)."""
