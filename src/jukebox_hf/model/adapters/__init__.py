"""New artists and adapters on top of a model: kilobytes and megabytes beside its weights."""
