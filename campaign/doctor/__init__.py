"""What a campaign rests on, tried out before the first job."""
