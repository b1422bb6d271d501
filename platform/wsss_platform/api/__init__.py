"""What can be done from Python."""
