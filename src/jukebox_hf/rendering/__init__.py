"""Pictures and pages of songs. Nothing here needs torch."""
