"""What each step of bringing up a plan does to the world, room by room: leasing, booting, preparing, starting."""
