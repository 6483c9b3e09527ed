"""Files of other programs read into frames with labels; nothing in them is guessed or lost."""
