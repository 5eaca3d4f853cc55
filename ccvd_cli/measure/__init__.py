"""How good it is: metrics, and how much of a concept is left after others were learned."""
