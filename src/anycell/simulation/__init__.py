"""The parts of :mod:`anycell.simulate`: shapes, optics, and one file per family of images."""
