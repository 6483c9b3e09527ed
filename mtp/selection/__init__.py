"""MaxVol active sets and extrapolation grades."""
