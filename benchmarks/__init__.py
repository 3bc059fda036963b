"""Measures aecli beside the hardware's floor, the chapter's loop and other programs."""
