"""What the README shows, and the script that draws it."""
