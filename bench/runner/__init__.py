"""Parts of the side-by-side runner."""
