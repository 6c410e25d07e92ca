"""Weights on disk: headers compared before they are read, files written whole."""
