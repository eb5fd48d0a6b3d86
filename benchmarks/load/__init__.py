"""How much the platform takes: locust on the intake and the models, a burst of scenes, a report."""
