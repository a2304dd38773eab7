"""Kill extraction at random, over and over, and compare what is left with an undisturbed run."""
