"""What can be said about an image in numbers, and the segments that are cut from those numbers."""
