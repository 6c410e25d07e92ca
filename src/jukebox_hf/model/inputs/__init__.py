"""Words and sound become ids and samples: tokenizer, feature extractor, processor."""
