"""The procedural video world: endless captioned clips with known truth. NumPy, until it trains."""
