"""What was done to whom: the memory of a deployment."""
