"""What clients may ask, and the form in which they are answered."""
