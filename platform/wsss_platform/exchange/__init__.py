"""Maps of other code in; masks and scores out."""
