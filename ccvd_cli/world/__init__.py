"""The procedural video world: endless captioned clips with known truth. NumPy only, except where it trains."""
