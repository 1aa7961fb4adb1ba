"""The stages of a run, and the driver that carries them out on Ray or in one process."""
