"""The command line: the only place that prints, draws bars or reads the environment."""
