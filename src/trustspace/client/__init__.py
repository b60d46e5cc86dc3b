"""What each party does, as a typed library: keys are used here and nowhere else."""
