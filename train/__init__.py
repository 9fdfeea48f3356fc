"""Training: settings, data, schedules, networks, and the files that hold what was trained."""
