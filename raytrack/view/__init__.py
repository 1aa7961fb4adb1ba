"""Ways to look at a run: the HTML report and the 3D viewer belong here."""
