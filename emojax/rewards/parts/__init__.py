"""The parts of a reward, a file each: see `emojax/rewards/part.py`."""
