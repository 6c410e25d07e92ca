"""The three configurations, released sizes and presets, and how foreign ones are read."""
