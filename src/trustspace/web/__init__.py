"""The review desk: a page that a reviewer's own machine serves to that machine alone."""
