"""Settings -> targets -> a plan of build requests. Pure."""
