"""Maps of other code."""
