"""What trajectories and structures show."""
