"""What makes the site out of the chapters, beyond Jupyter Book and its theme: one Sphinx extension a file."""
