"""Ways to tune and to predict, one file each, behind one contract."""
