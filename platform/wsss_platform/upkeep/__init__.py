"""List, verify, clear and copy what is stored."""
