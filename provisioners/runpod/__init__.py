"""RunPod: containers in data centres, over its REST API alone; there is no SDK to wrap."""
