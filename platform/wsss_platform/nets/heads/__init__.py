"""What sits on a backbone: classifiers and their parts."""
