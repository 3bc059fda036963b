"""Images: the sources that they come from, and the one form in which they travel."""
