"""Made data: synthetic datasets, simulated features, rendered videos and small random encoders."""
