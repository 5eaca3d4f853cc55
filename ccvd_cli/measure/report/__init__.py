"""One HTML file about a registry and a benchmark: gathered into plain data, drawn, and written."""
