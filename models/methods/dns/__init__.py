"""DnS: the method, its students and selector, binary codes, and its search from coarse to fine."""
