"""`qudao demo`: the whole main job against the simulator."""
