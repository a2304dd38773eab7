"""Short videos made, read and drawn, for the demo, the report and the tests."""
