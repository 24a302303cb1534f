"""The project: settings, the URL map and the story of a check."""
