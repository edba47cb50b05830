"""How a component carries its code."""
