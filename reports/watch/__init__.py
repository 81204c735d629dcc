"""Page of a watch: a deployed container beside its original on later inputs."""
