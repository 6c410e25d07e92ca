"""The web studio: a tree of takes in a project folder, and the page it grows on."""
