"""Training: the loop, what it steps by, its device, and many trainings side by side."""
