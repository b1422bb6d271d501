"""What can be done with wsss-platform from Python: `import wsss_platform.api as wsss`. The command line is its user.

    experiments   what a person gives -> an `Experiment`, with every error before anything starts
    runs          a recorded run again, perhaps with changes; names of runs
    runners       where stages run: this process, or Ray
    recording     a run with its record and its W&B run around it
    plans         what a run would do, as plain data
    background_rules  rules solved on the stored counts of a run
    study_pages   the pictures and the page of a study

Nothing here writes to standard output, and torch and ray are loaded when
they are needed.
"""
