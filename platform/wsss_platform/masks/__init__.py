"""From maps to one label per pixel: background rules, dense CRF. No torch."""
