"""Code space: the region that images occupy, straight lines through it, ways to draw from it."""
