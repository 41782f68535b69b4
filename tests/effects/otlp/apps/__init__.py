"""Applications that OpenTelemetry instruments by itself; they run as processes of their own, in an environment of their own."""
