"""A day in the greenhouse: one reading every ten minutes."""

import numpy as np

rng = np.random.default_rng(seed=1)
temperature = 22 + 4 * np.sin(np.linspace(0, 2 * np.pi, 144)) + rng.normal(0, 0.3, 144)  # °C

# Task: print the mean and standard deviation of temperature
