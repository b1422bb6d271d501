"""The second level of a search: settings of the masks, on the stored maps of one trial. No Ray."""
