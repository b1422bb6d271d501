"""For the whole suite: our engine is imported before ray itself, as the command does."""

import wsss_platform.engine  # noqa: F401  (sets what Ray reads from the environment when it is imported)
