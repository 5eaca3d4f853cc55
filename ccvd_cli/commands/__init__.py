"""One module per group of commands. Importing one is cheap: torch and its kin are imported inside the functions."""
