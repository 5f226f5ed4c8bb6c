"""Files: every image format to one :class:`~anycell.image.Image`, labels in and out.

One file per format (``raster``, ``tiff``, ``ome_zarr``); each ends in a
:class:`~anycell.files.source.Source`, and ``source`` turns that into an image.  A new
format is one file that gives a Source and one line in ``opening``.

Nothing heavy is imported before a file asks for it.
"""

from anycell.files.display import display, overlay, write_overlay
from anycell.files.label_files import open_labels, read_labels, sampled_labels, write_labels
from anycell.files.opening import Opening, open_image
from anycell.files.places import find_images, label_name, label_path, label_paths

__all__ = [
    "Opening",
    "display",
    "find_images",
    "label_name",
    "label_path",
    "label_paths",
    "open_image",
    "open_labels",
    "overlay",
    "read_labels",
    "sampled_labels",
    "write_labels",
    "write_overlay",
]
