"""Fine-tuning in one line: a folder of songs becomes a Jukebox that sings them, stage by stage."""
