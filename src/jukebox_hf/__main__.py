"""`python -m jukebox_hf` is `jukebox-hf`."""

from .app.cli import main

if __name__ == "__main__":
    main()
