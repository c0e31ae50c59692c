"""The documentation as a site: `make docs`.

The pages are read where they are, so that their links work on Git hosts too.
"""

project = "Milepost"
copyright = "the Milepost authors; Apache-2.0"
extensions = ["myst_parser"]
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "ARCHITECTURE.md",
    "docs/**.md",
]
exclude_patterns = [".venv", ".milepost", "build", "tests", "**/__pycache__"]
root_doc = "docs/index"
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Milepost"
html_extra_path = ["site"]
html_copy_source = False
html_show_sphinx = False
