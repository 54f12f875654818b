"""A captioner in a browser and as a JSON API: `emojax serve`. Its libraries are those of the extra `serve`."""
