"""Training a prior: which one it begins from, its songs as codes, its labels, its trainer."""
