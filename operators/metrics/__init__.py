"""How right a ranking is, counted in two walks over scores, without sorting any ranking."""
