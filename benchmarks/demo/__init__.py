"""Videos that ndvr draws itself, copies of them in many edits, and the main job run on all of them."""
