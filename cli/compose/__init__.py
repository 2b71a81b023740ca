"""The composition root: builds what runs from the settings. The one place that knows every adapter."""
