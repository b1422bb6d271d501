"""Class activation maps: multi-scale extraction (`extract`, needs torch) and the compact store (`storage`)."""
