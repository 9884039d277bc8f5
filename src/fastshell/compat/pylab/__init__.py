"""ipykernel.pylab: moved to matplotlib-inline."""
