"""The documentation: the pages beside this file, the docstrings, and examples that are run."""

import re

import kmeans_xp

project = "kmeans_xp"
author = "the authors of kmeans_xp"
version = release = kmeans_xp.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "templates"]
templates_path = ["templates"]

# a name in single backquotes is a link where the name is one of these pages' own
default_role = "autolink"
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(sklearn|scipy)\..*")]

myst_heading_anchors = 3

autosummary_generate = True
# where file names know no case it would overwrite the page of DBSCAN
autosummary_filename_map = {"kmeans_xp.dbscan": "dbscan-function"}
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 3600,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "kmeans_xp"
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": [],
    "footer_end": [],
}


def _follow_links(app, name, text):
    """Make links of the repository fit: scripts are pages here, and files outside are words."""
    text[0] = text[0].replace("](examples/GALLERY_HEADER.rst)", "](auto_examples/index.rst)")
    text[0] = re.sub(r"\]\(examples/(\w+)\.py\)", r"](auto_examples/\1.rst)", text[0])
    text[0] = re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", text[0])


def setup(app):
    app.connect("source-read", _follow_links)
