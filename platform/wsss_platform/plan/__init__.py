"""What is to be done, as plain data: an experiment, its stages with their keys, its protocol. No torch."""
