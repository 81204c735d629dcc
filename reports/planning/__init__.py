"""Tables and figures of the experiment "planning": plans beside other methods, and how far their limits hold."""
