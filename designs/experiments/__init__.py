"""The project's own experiments: main job, benchmark, studies of the papers."""
