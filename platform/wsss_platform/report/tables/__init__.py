"""Tables and lines for a person, made from documents: a file for each subject."""
