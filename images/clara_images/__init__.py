"""Builds Clara's images in layers named by their content. Called by images/build.py; standard library only."""
