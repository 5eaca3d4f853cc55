"""Learning and sampling. torch starts here; nothing here opens the registry or talks to a terminal."""
